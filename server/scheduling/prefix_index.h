// Which block holds which tokens of which prompt. A block's name is a SHA-256 over the name of the
// block before it (at the start: the model version, its adapter and the cache domain), its tokens,
// and for images their digest and the offset inside them, so that equal names mean equal keys and
// values, and that nobody finds a block of another domain.
#ifndef LLAVA_SERVER_SCHEDULING_PREFIX_INDEX_H_
#define LLAVA_SERVER_SCHEDULING_PREFIX_INDEX_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/digest.h"
#include "server/scheduling/request.h"

namespace llava::scheduling {

// Names blocks, one after the other. Not thread-safe.
class BlockNamer {
 public:
  // What stands for the block before block 0. `adapter`: AdapterDigest.
  Digest Root(const Digest& version, const Digest& adapter, const Digest& cache_domain);

  // The name of block number `block` (tokens [16 block, 16 block + 16)) of `tokens`, whose images
  // are `images`. `parent` is the name of the block before, or Root for block 0.
  // REQUIRES: the block is full.
  Digest Name(const Digest& parent, int block, std::span<const std::int32_t> tokens,
              std::span<const ImageInput> images);

 private:
  Sha256 sha_;
};

// Engine thread only. Invariant: names and blocks are one to one. A hash table of blocks with open
// addressing (linear probing, at most half full), so that a tick allocates nothing for it. Mostly
// it is not in the CPU's caches: it is kept small, and looks at a name only to confirm a hash.
class PrefixIndex {
 public:
  explicit PrefixIndex(int num_blocks);

  std::optional<BlockId> Find(const Digest& name) const;

  // False, with nothing changed, when the name is taken. REQUIRES: the block has no name.
  bool Insert(const Digest& name, BlockId block);

  // REQUIRES: the block has a name.
  void Erase(BlockId block);

  std::size_t size() const { return size_; }

 private:
  static constexpr std::int32_t kEmpty = -1;

  static std::uint32_t HashOf(const Digest& name) {
    return static_cast<std::uint32_t>(std::hash<Digest>()(name));
  }
  std::uint32_t HashOf(std::int32_t block) const {
    return hashes_[static_cast<std::size_t>(block)];
  }
  std::size_t Probe(const Digest& name) const;  // its place, or the empty one where it would be

  // By block; of those that have a name.
  std::vector<Digest> names_;
  std::vector<std::uint32_t> hashes_;
  std::vector<std::int32_t> places_;  // a block or kEmpty; a block's home is its hash & mask_
  std::size_t mask_;
  std::size_t size_ = 0;
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_PREFIX_INDEX_H_
