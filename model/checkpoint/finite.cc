#include "model/checkpoint/finite.h"

#include <algorithm>
#include <cstring>

namespace llava::model {
namespace {

constexpr std::size_t kBlock = 4096;  // elements; one block stays in the first cache

// `exponent`: the bits that are all ones in NaN and infinity and in no other number.
template <typename Word>
NonFinite Find(std::string_view bytes, Word exponent) {
  NonFinite found;
  Word block[kBlock];
  const std::size_t elements = bytes.size() / sizeof(Word);
  for (std::size_t at = 0; at < elements; at += kBlock) {
    const std::size_t size = std::min(kBlock, elements - at);
    std::memcpy(block, bytes.data() + at * sizeof(Word), size * sizeof(Word));
    Word count = 0;  // at most kBlock: fits in 16 bits
    for (std::size_t i = 0; i < size; ++i) {
      count = static_cast<Word>(count + ((block[i] & exponent) == exponent ? 1 : 0));
    }
    if (count == 0) continue;
    found.count += static_cast<std::int64_t>(count);
    if (found.first >= 0) continue;
    const Word* first = std::find_if(
        block, block + size, [exponent](Word word) { return (word & exponent) == exponent; });
    found.first = static_cast<std::int64_t>(at) + (first - block);
  }
  return found;
}

}  // namespace

NonFinite FindNonFinite(DType dtype, std::string_view bytes) {
  switch (dtype) {
    case DType::kFloat16:
      return Find<std::uint16_t>(bytes, 0x7C00);
    case DType::kBfloat16:
      return Find<std::uint16_t>(bytes, 0x7F80);
    case DType::kFloat32:
      return Find<std::uint32_t>(bytes, 0x7F800000);
    case DType::kFloat64:
      return Find<std::uint64_t>(bytes, 0x7FF0000000000000);
    default:
      return {};
  }
}

}  // namespace llava::model
