// Between the messages of chat.proto and the neutral forms of a call and its answer.
#ifndef LLAVA_SERVER_API_GRPC_CODEC_H_
#define LLAVA_SERVER_API_GRPC_CODEC_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "llava/v1/chat.pb.h"
#include "model/text/tokenizer.h"
#include "server/chat/answer.h"
#include "server/chat/chat_call.h"
#include "server/chat/scores.h"
#include "server/engine/token_stream.h"

namespace llava::api {

// The call, whose images point into `request`. `prefix` is where the request stands ("request."
// in a ChatStreamRequest). INVALID_ARGUMENT with the path of what cannot be translated; values are
// checked later (CheckCall).
absl::StatusOr<ChatCall> ToCall(const llava::v1::ChatRequest& request, absl::string_view prefix);

// The same of a call for scores. INVALID_ARGUMENT also for a field that is of no use there.
absl::StatusOr<ChatCall> ToScoreCall(const llava::v1::ScoreRequest& request);

// All but model, version and usage. REQUIRES: scores.Check() is OK.
void FillScores(const Scores& scores, const model::Tokenizer& tokenizer,
                llava::v1::ScoreResponse* response);

// What of an answer the client asked for.
struct AnswerOptions {
  bool token_ids = false;
  bool logprobs = false;
};
AnswerOptions OptionsOf(const llava::v1::ChatRequest& request);

// One event of ChatStream; fills all but model and version.
void FillDelta(const AnswerDelta& delta, const AnswerOptions& options,
               const model::Tokenizer& tokenizer, llava::v1::ChatStreamResponse* event);

// Adds to the choice it belongs to. REQUIRES: response has that choice.
void AppendDelta(const AnswerDelta& delta, const AnswerOptions& options,
                 const model::Tokenizer& tokenizer, llava::v1::ChatResponse* response);

void FillUsage(const engine::End& end, Duration prepare_time, int images, llava::v1::Usage* usage);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_CODEC_H_
