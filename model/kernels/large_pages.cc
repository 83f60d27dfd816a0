#include "model/kernels/large_pages.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/accumulate.h>
#include <sys/mman.h>

#include <cstdlib>

namespace llava::model {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20;

}  // namespace

at::Tensor EmptyInLargePages(at::IntArrayRef sizes, at::ScalarType dtype) {
  const auto wanted =
      static_cast<std::size_t>(c10::multiply_integers(sizes)) * c10::elementSize(dtype);
  if (wanted < kLargePage) return at::empty(sizes, dtype);
  const std::size_t bytes = (wanted + kLargePage - 1) / kLargePage * kLargePage;
  void* memory = std::aligned_alloc(kLargePage, bytes);
  TORCH_CHECK_WITH(OutOfMemoryError, memory != nullptr, "cannot allocate ", bytes, " bytes");
  ::madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: failure only costs speed
  return at::from_blob(memory, sizes, [](void* p) { std::free(p); }, dtype);
}

}  // namespace llava::model
