// Finds stop strings in text that comes in pieces, holding back what may be the start of one.
#ifndef LLAVA_SERVER_REGISTRY_STOP_MATCHER_H_
#define LLAVA_SERVER_REGISTRY_STOP_MATCHER_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace llava::registry {

// Not thread-safe. Invariant: what comes out, put together, is the text before the first place
// where any of the strings begins and is complete; it never ends within a character if the pieces
// do not.
class StopMatcher {
 public:
  // Empty strings are not allowed; no strings: everything passes.
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // The text that can be shown now. After a match: nothing more.
  std::string Push(absl::string_view piece);

  // What was held back; nothing after a match.
  std::string Finish();

  bool matched() const { return matched_; }

 private:
  std::size_t FirstMatch() const;
  std::size_t HeldBack() const;

  const std::vector<std::string> stops_;
  std::string pending_;
  bool matched_ = false;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_STOP_MATCHER_H_
