#include "server/scheduling/prefix_index.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/check.h"
#include "server/scheduling/limits.h"

namespace llava::scheduling {
namespace {

std::string_view Bytes(const void* data, std::size_t size) {
  return {static_cast<const char*>(data), size};
}

}  // namespace

Digest BlockNamer::Name(const Digest& parent, int block, std::span<const std::int32_t> tokens,
                        std::span<const ImageInput> images) {
  const int begin = block * kBlockTokens;
  const int end = begin + kBlockTokens;
  LLAVA_CHECK_LE(static_cast<std::size_t>(end), tokens.size());
  std::array<std::int32_t, kBlockTokens> ids;
  std::copy_n(tokens.begin() + begin, kBlockTokens, ids.begin());
  sha_.Update(parent);
  for (const ImageInput& image : images) {
    const int from = std::max(begin, image.offset);
    const int to = std::min(end, image.offset + image.count);
    if (from >= to) continue;
    // An image token is known by its picture and its place in it, not by its id.
    for (int p = from; p < to; ++p) ids[static_cast<std::size_t>(p - begin)] = -1;
    const std::int32_t place[] = {from - begin, to - begin, from - image.offset};
    sha_.Update(image.digest).Update(Bytes(place, sizeof(place)));
  }
  return sha_.Update(Bytes(ids.data(), sizeof(ids))).Finish();
}

std::optional<BlockId> PrefixIndex::Find(const Digest& name) const {
  const auto found = blocks_.find(name);
  if (found == blocks_.end()) return std::nullopt;
  return found->second;
}

bool PrefixIndex::Insert(const Digest& name, BlockId block) {
  if (!blocks_.emplace(name, block).second) return false;
  names_[static_cast<std::size_t>(block.value())] = name;
  return true;
}

void PrefixIndex::Erase(BlockId block) {
  const auto found = blocks_.find(names_[static_cast<std::size_t>(block.value())]);
  LLAVA_CHECK(found != blocks_.end());
  LLAVA_CHECK_EQ(found->second, block);
  blocks_.erase(found);
}

}  // namespace llava::scheduling
