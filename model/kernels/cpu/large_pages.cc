#include "model/kernels/cpu/large_pages.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/accumulate.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace llava::model {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20;
constexpr std::size_t kPage = std::size_t{4} << 10;
// Smaller tensors are left to malloc: the unused end of their last page would weigh more than what
// malloc may keep of them.
constexpr std::size_t kSmall = 16 * kPage;

std::size_t RoundUp(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Memory from the system and not from malloc, which would keep some of it when it is freed. `align`
// is kPage or kLargePage. Null when memory is short.
char* MapAligned(std::size_t bytes, std::size_t align) {
  const std::size_t room = bytes + align - kPage;
  void* const mapped =
      ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(mapped);
  const std::size_t head = -reinterpret_cast<std::uintptr_t>(begin) % align;
  const std::size_t tail = room - head - bytes;
  if (head > 0) ::munmap(begin, head);
  if (tail > 0) ::munmap(begin + head + bytes, tail);
  return begin + head;
}

}  // namespace

at::Tensor EmptyInLargePages(at::IntArrayRef sizes, at::ScalarType dtype) {
  const auto wanted =
      static_cast<std::size_t>(c10::multiply_integers(sizes)) * c10::elementSize(dtype);
  if (wanted < kSmall) return at::empty(sizes, dtype);
  // The part beyond the last whole large page lies in small pages.
  const std::size_t bytes = RoundUp(wanted, kPage);
  const bool large = wanted >= kLargePage;
  char* const memory = MapAligned(bytes, large ? kLargePage : kPage);
  TORCH_CHECK_WITH(OutOfMemoryError, memory != nullptr, "cannot allocate ", bytes, " bytes");
  if (large) ::madvise(memory, bytes, MADV_HUGEPAGE);  // a refusal costs only speed
  return at::from_blob(memory, sizes, [bytes](void* p) { ::munmap(p, bytes); }, dtype);
}

}  // namespace llava::model
