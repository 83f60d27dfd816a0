// Watches an answer go by, for the registry's judgement of the version that gives it.
#ifndef LLAVA_SERVER_CHAT_ANSWER_WATCH_H_
#define LLAVA_SERVER_CHAT_ANSWER_WATCH_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/token_stream.h"
#include "server/registry/canary.h"
#include "server/scheduling/request.h"

namespace llava::api {

// One thread at a time. Keeps a bounded end of each choice's text.
class AnswerWatch {
 public:
  // `has_logprobs`: the tokens carry them.
  void set_has_logprobs(bool has_logprobs) { has_logprobs_ = has_logprobs; }

  void Add(const engine::Delta& delta);

  // What became of it; nothing when that says nothing about the version (the client went away, or
  // the server stops).
  std::optional<registry::Observation> Observe(const absl::Status& status,
                                               const scheduling::Usage& usage) const;

 private:
  struct Choice {
    std::string tail;  // of the text
    scheduling::FinishReason finish = scheduling::FinishReason::kNone;
  };

  std::vector<Choice> choices_;
  bool has_logprobs_ = false;
  std::int64_t tokens_ = 0;
  double logprobs_ = 0;  // their sum
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_ANSWER_WATCH_H_
