// Which encoded images the executor holds. The scheduler decides what is encoded, kept and dropped;
// the features themselves stay in the executor's memory.
#ifndef LLAVA_SERVER_SCHEDULING_FEATURE_CACHE_H_
#define LLAVA_SERVER_SCHEDULING_FEATURE_CACHE_H_

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/digest.h"
#include "server/scheduling/request.h"

namespace llava::scheduling {

// By what an encoded image is found again.
struct FeatureKey {
  Digest version;
  Digest cache_domain;
  Digest image;
  bool operator==(const FeatureKey&) const = default;
};

// How far the encoding of a picture has come that takes several steps: tiles that are done, and
// parts of the vision tower (SchedulerOptions::encoder_parts) that the next tile is through.
struct EncodeProgress {
  int tiles = 0;
  int parts = 0;
};

// Engine thread only. Invariants:
//   1. the bytes of all entries never exceed the budget
//   2. an entry is dropped only when nobody pins it, the least recently used first
//   3. an entry belongs to one (image, model version, cache domain); an id is never used twice
//   4. a half-encoded entry has one pin, and is dropped with it: what was done is lost
class FeatureCache {
 public:
  explicit FeatureCache(std::int64_t budget_bytes) : budget_bytes_(budget_bytes) {}

  // Whether Pin would find the image.
  bool Has(const FeatureKey& key) const;

  // Whether it is half encoded.
  bool IsUnfinished(const FeatureKey& key) const { return ids_.contains(key) && !Has(key); }

  // The feature of an image, pinned; nothing when it is not there or half encoded.
  std::optional<FeatureId> Pin(const FeatureKey& key);

  // A new entry, pinned; others may be dropped for it. Nothing when the pinned ones leave no room.
  // REQUIRES: Pin(key) found nothing, and it is not half encoded.
  std::optional<FeatureId> Insert(const FeatureKey& key, std::int64_t bytes);

  void Unpin(FeatureId feature);  // REQUIRES: pinned; once for each pin

  // How far its encoding has come; nothing when it has ended, or is not known here. An entry begins
  // as one that has. REQUIRES of SetProgress: it has one pin.
  std::optional<EncodeProgress> progress(FeatureId feature) const;
  void SetProgress(FeatureId feature, std::optional<EncodeProgress> progress);

  // Its encoding failed: no new pin finds it, and it is dropped with its last pin.
  void Invalidate(FeatureId feature);

  // Everything of a version that nobody pins, or of all versions.
  void DropVersion(const Digest& version);
  void DropUnpinned();

  // What the executor may forget, since the last call.
  void TakeDropped(std::vector<FeatureId>* dropped);

  std::int64_t bytes() const { return bytes_; }
  std::int64_t budget_bytes() const { return budget_bytes_; }
  std::size_t size() const { return entries_.size(); }
  int pins(FeatureId feature) const;
  std::size_t unfinished() const { return unfinished_; }  // half-encoded entries
  std::uint64_t evictions() const { return evictions_; }

 private:
  struct KeyHash {
    std::size_t operator()(const FeatureKey& key) const noexcept {
      const std::hash<Digest> hash;
      return hash(key.image) ^ (31 * (hash(key.version) ^ (31 * hash(key.cache_domain))));
    }
  };
  struct Entry {
    FeatureKey key;
    std::int64_t bytes = 0;
    int pins = 0;
    bool valid = true;
    std::optional<EncodeProgress> progress = std::nullopt;
    std::list<FeatureId>::iterator idle;  // its place in idle_ when pins is 0
  };

  void Drop(FeatureId feature);
  template <typename Predicate>
  void DropIdleIf(Predicate predicate);

  const std::int64_t budget_bytes_;
  std::int64_t bytes_ = 0;
  std::uint64_t last_id_ = 0;
  std::uint64_t evictions_ = 0;
  std::size_t unfinished_ = 0;
  std::unordered_map<FeatureKey, FeatureId, KeyHash> ids_;  // of the valid entries
  std::unordered_map<FeatureId, Entry> entries_;
  std::list<FeatureId> idle_;  // not pinned, the least recently used first
  std::vector<FeatureId> dropped_;
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_FEATURE_CACHE_H_
