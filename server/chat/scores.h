// How likely each of some continuations is, collected from the answer that was forced to be them.
#ifndef LLAVA_SERVER_CHAT_SCORES_H_
#define LLAVA_SERVER_CHAT_SCORES_H_

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/sampled_token.h"
#include "server/engine/token_stream.h"

namespace llava::api {

// One thread at a time.
class Scores {
 public:
  // `lengths`: Answer::scored_tokens.
  explicit Scores(std::vector<int> lengths)
      : lengths_(std::move(lengths)), tokens_(lengths_.size()) {}

  void Add(const engine::Delta& delta);

  // INVALID_ARGUMENT when one was cut, because the context of the engine ended.
  absl::Status Check() const;

  // REQUIRES: Check() is OK.
  std::size_t size() const { return tokens_.size(); }
  const std::vector<SampledToken>& TokensOf(std::size_t i) const { return tokens_[i]; }
  double LogprobOf(std::size_t i) const;  // of all its tokens
  std::size_t Best() const;               // the first with the highest

 private:
  std::vector<int> lengths_;
  std::vector<std::vector<SampledToken>> tokens_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_SCORES_H_
