#include "model/kernels/large_pages.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/accumulate.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace llava::model {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20;

// Not from malloc, which would keep some of it when it is freed. Null when memory is short.
char* MapAligned(std::size_t bytes) {
  const std::size_t room = bytes + kLargePage;
  void* const mapped =
      ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(mapped);
  const std::size_t head = -reinterpret_cast<std::uintptr_t>(begin) % kLargePage;
  if (head > 0) ::munmap(begin, head);
  ::munmap(begin + head + bytes, room - head - bytes);
  return begin + head;
}

}  // namespace

at::Tensor EmptyInLargePages(at::IntArrayRef sizes, at::ScalarType dtype) {
  const auto wanted =
      static_cast<std::size_t>(c10::multiply_integers(sizes)) * c10::elementSize(dtype);
  if (wanted < kLargePage) return at::empty(sizes, dtype);
  const std::size_t bytes = (wanted + kLargePage - 1) / kLargePage * kLargePage;
  char* const memory = MapAligned(bytes);
  TORCH_CHECK_WITH(OutOfMemoryError, memory != nullptr, "cannot allocate ", bytes, " bytes");
  ::madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: failure only costs speed
  return at::from_blob(memory, sizes, [bytes](void* p) { ::munmap(p, bytes); }, dtype);
}

}  // namespace llava::model
