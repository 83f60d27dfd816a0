#include "server/registry/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace llava::registry {

std::string StopMatcher::Push(absl::string_view piece) {
  if (matched_) return "";
  pending_.append(piece.data(), piece.size());
  const std::size_t match = FirstMatch();
  if (match != std::string::npos) {
    matched_ = true;
    pending_.resize(match);
    return std::exchange(pending_, "");
  }
  const std::size_t shown = pending_.size() - HeldBack();
  std::string text = pending_.substr(0, shown);
  pending_.erase(0, shown);
  return text;
}

std::string StopMatcher::Finish() { return std::exchange(pending_, ""); }

// Where the earliest complete stop string begins; npos when there is none.
std::size_t StopMatcher::FirstMatch() const {
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, pending_.find(stop));
  return first;
}

// The longest end of the pending text that is a beginning of some stop string.
std::size_t StopMatcher::HeldBack() const {
  std::size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, pending_.size()); n > longest; --n) {
      if (pending_.compare(pending_.size() - n, n, stop, 0, n) == 0) longest = n;
    }
  }
  return longest;
}

}  // namespace llava::registry
