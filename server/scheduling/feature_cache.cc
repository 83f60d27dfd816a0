#include "server/scheduling/feature_cache.h"

#include "base/check.h"

namespace llava::scheduling {

bool FeatureCache::Has(const FeatureKey& key) const {
  const auto found = ids_.find(key);
  return found != ids_.end() && !entries_.at(found->second).progress.has_value();
}

std::optional<FeatureId> FeatureCache::Pin(const FeatureKey& key) {
  const auto found = ids_.find(key);
  if (found == ids_.end()) return std::nullopt;
  Entry& entry = entries_.at(found->second);
  if (entry.progress.has_value()) return std::nullopt;
  if (entry.pins++ == 0) idle_.erase(entry.idle);
  return found->second;
}

std::optional<FeatureId> FeatureCache::Insert(const FeatureKey& key, std::int64_t bytes) {
  while (bytes_ + bytes > budget_bytes_) {
    if (idle_.empty()) return std::nullopt;
    ++evictions_;
    Drop(idle_.front());
  }
  const FeatureId id(++last_id_);
  LLAVA_CHECK(ids_.emplace(key, id).second);
  entries_[id] =
      Entry{.key = key, .bytes = bytes, .pins = 1, .valid = true, .progress = {}, .idle = {}};
  bytes_ += bytes;
  return id;
}

void FeatureCache::Unpin(FeatureId feature) {
  const auto found = entries_.find(feature);
  LLAVA_CHECK(found != entries_.end());
  Entry& entry = found->second;
  LLAVA_CHECK_GT(entry.pins, 0);
  if (--entry.pins > 0) return;
  entry.idle = idle_.insert(idle_.end(), feature);
  if (!entry.valid || entry.progress.has_value()) Drop(feature);
}

std::optional<EncodeProgress> FeatureCache::progress(FeatureId feature) const {
  const auto found = entries_.find(feature);
  return found == entries_.end() ? std::nullopt : found->second.progress;
}

void FeatureCache::SetProgress(FeatureId feature, std::optional<EncodeProgress> progress) {
  Entry& entry = entries_.at(feature);
  LLAVA_CHECK_EQ(entry.pins, 1);
  if (entry.progress.has_value()) --unfinished_;
  if (progress.has_value()) ++unfinished_;
  entry.progress = progress;
}

void FeatureCache::Invalidate(FeatureId feature) {
  const auto found = entries_.find(feature);
  if (found == entries_.end() || !found->second.valid) return;
  found->second.valid = false;
  ids_.erase(found->second.key);
  if (found->second.pins == 0) Drop(feature);
}

void FeatureCache::DropVersion(const Digest& version) {
  DropIdleIf([&version](const Entry& entry) { return entry.key.version == version; });
}

void FeatureCache::DropUnpinned() {
  DropIdleIf([](const Entry&) { return true; });
}

void FeatureCache::TakeDropped(std::vector<FeatureId>* dropped) {
  dropped->insert(dropped->end(), dropped_.begin(), dropped_.end());
  dropped_.clear();
}

int FeatureCache::pins(FeatureId feature) const {
  const auto found = entries_.find(feature);
  return found == entries_.end() ? 0 : found->second.pins;
}

void FeatureCache::Drop(FeatureId feature) {
  const auto found = entries_.find(feature);
  LLAVA_CHECK(found != entries_.end());
  LLAVA_CHECK_EQ(found->second.pins, 0);
  bytes_ -= found->second.bytes;
  idle_.erase(found->second.idle);
  if (found->second.valid) ids_.erase(found->second.key);
  if (found->second.progress.has_value()) --unfinished_;
  entries_.erase(found);
  dropped_.push_back(feature);
}

template <typename Predicate>
void FeatureCache::DropIdleIf(Predicate predicate) {
  for (auto it = idle_.begin(); it != idle_.end();) {
    const FeatureId feature = *it++;
    if (predicate(entries_.at(feature))) Drop(feature);
  }
}

}  // namespace llava::scheduling
