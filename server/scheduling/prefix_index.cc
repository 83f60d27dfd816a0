#include "server/scheduling/prefix_index.h"

#include <algorithm>
#include <array>
#include <bit>
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

Digest BlockNamer::Root(const Digest& version, const Digest& adapter, const Digest& cache_domain) {
  return sha_.Update(version).Update(adapter).Update(cache_domain).Finish();
}

Digest BlockNamer::Name(const Digest& parent, int block, std::span<const std::int32_t> tokens,
                        std::span<const ImageInput> images) {
  const int begin = block * kKvBlockTokens;
  const int end = begin + kKvBlockTokens;
  LLAVA_CHECK_LE(static_cast<std::size_t>(end), tokens.size());
  std::array<std::int32_t, kKvBlockTokens> ids;
  std::copy_n(tokens.begin() + begin, kKvBlockTokens, ids.begin());
  sha_.Update(parent);
  for (const ImageInput& image : images) {
    const int from = std::max(begin, image.offset);
    const int to = std::min(end, image.offset + image.count);
    if (from >= to) continue;
    // An image token is known by its image and its place in it, not by its id.
    for (int p = from; p < to; ++p) ids[static_cast<std::size_t>(p - begin)] = -1;
    const std::int32_t place[] = {from - begin, to - begin, from - image.offset};
    sha_.Update(image.digest).Update(Bytes(place, sizeof(place)));
  }
  return sha_.Update(Bytes(ids.data(), sizeof(ids))).Finish();
}

PrefixIndex::PrefixIndex(int num_blocks)
    : names_(static_cast<std::size_t>(num_blocks)),
      hashes_(static_cast<std::size_t>(num_blocks)),
      places_(std::bit_ceil(2 * static_cast<std::size_t>(num_blocks) + 1), kEmpty),
      mask_(places_.size() - 1) {
  LLAVA_CHECK_LE(mask_, std::size_t{UINT32_MAX});
}

std::optional<BlockId> PrefixIndex::Find(const Digest& name) const {
  const std::int32_t block = places_[Probe(name)];
  if (block == kEmpty) return std::nullopt;
  return BlockId(block);
}

bool PrefixIndex::Insert(const Digest& name, BlockId block) {
  std::int32_t& place = places_[Probe(name)];
  if (place != kEmpty) return false;
  place = block.value();
  names_[static_cast<std::size_t>(place)] = name;
  hashes_[static_cast<std::size_t>(place)] = HashOf(name);
  ++size_;
  return true;
}

// Moves later ones of the run back into the gap, as long as that is not before their home.
void PrefixIndex::Erase(BlockId block) {
  std::size_t gap = HashOf(block.value()) & mask_;
  while (places_[gap] != block.value()) {
    LLAVA_CHECK_NE(places_[gap], kEmpty);
    gap = (gap + 1) & mask_;
  }
  for (std::size_t next = (gap + 1) & mask_; places_[next] != kEmpty; next = (next + 1) & mask_) {
    const std::size_t home = HashOf(places_[next]) & mask_;
    if (((next - home) & mask_) < ((next - gap) & mask_)) continue;
    places_[gap] = places_[next];
    gap = next;
  }
  places_[gap] = kEmpty;
  --size_;
}

std::size_t PrefixIndex::Probe(const Digest& name) const {
  const std::uint32_t hash = HashOf(name);
  const auto is_other = [&](std::int32_t block) {
    return block != kEmpty &&
           (HashOf(block) != hash || names_[static_cast<std::size_t>(block)] != name);
  };
  std::size_t place = hash & mask_;
  while (is_other(places_[place])) place = (place + 1) & mask_;
  return place;
}

}  // namespace llava::scheduling
