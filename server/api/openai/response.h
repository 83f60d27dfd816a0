// Answers in the JSON of OpenAI's chat completions API.
#ifndef LLAVA_SERVER_API_OPENAI_RESPONSE_H_
#define LLAVA_SERVER_API_OPENAI_RESPONSE_H_

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "model/text/tokenizer.h"
#include "server/chat/answer.h"
#include "server/chat/scores.h"
#include "server/engine/token_stream.h"

namespace llava::api {

// What every object of one answer begins with.
struct OpenAiHead {
  std::string id;  // "chatcmpl-..."
  std::int64_t created = 0;
  std::string model;
  std::string version;
  std::string fingerprint;  // of what decides an answer: "VERSION-BUILD-NUMBERS"
  bool token_ids = false;
  bool logprobs = false;
  bool usage = false;  // asked for in a stream: the last event has it, the others say null
};

// One event of a stream. `first`: of this choice.
boost::json::object ToChunk(const OpenAiHead& head, const AnswerDelta& delta, bool first,
                            const model::Tokenizer& tokenizer);

// The event that carries nothing but the usage.
boost::json::object UsageChunk(const OpenAiHead& head, const scheduling::Usage& usage);

// What POST /v1/score answers. REQUIRES: scores.Check() is OK.
boost::json::object ToScores(const OpenAiHead& head, const Scores& scores,
                             const scheduling::Usage& usage, const model::Tokenizer& tokenizer);

// Collects the deltas of a whole answer.
class OpenAiAnswer {
 public:
  OpenAiAnswer(const OpenAiHead& head, int n)
      : head_(head), choices_(static_cast<std::size_t>(n)) {}

  void Add(const AnswerDelta& delta, const model::Tokenizer& tokenizer);
  boost::json::object Finish(const scheduling::Usage& usage) const;

 private:
  struct Choice {
    std::string text;
    std::vector<CallDelta> calls;
    boost::json::array token_ids;
    boost::json::array logprobs;
    scheduling::FinishReason finish = scheduling::FinishReason::kNone;
  };
  const OpenAiHead head_;
  std::vector<Choice> choices_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_RESPONSE_H_
