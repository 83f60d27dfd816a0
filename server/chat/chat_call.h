// A request for a chat answer, whatever it came in by: gRPC and HTTP both translate into this.
#ifndef LLAVA_SERVER_CHAT_CHAT_CALL_H_
#define LLAVA_SERVER_CHAT_CHAT_CALL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/sampling_params.h"
#include "model/grammar/answer_format.h"
#include "model/text/chat_template.h"
#include "server/chat/tool_use.h"
#include "server/scheduling/limits.h"
#include "server/scheduling/request.h"

namespace llava::api {

// The bytes of an image's file, which the caller keeps until the call was prepared.
struct CallImage {
  absl::string_view bytes;
  std::string field;  // its path in the request, for errors
};

struct ChatCall {
  std::string protocol;  // "grpc" or "http", for metrics
  std::string request_id;
  std::string traceparent;  // the header of W3C Trace Context, or what a client sent for it
  std::string model;        // empty: the default
  std::string tenant;       // of rpc::TenantOf, which checks what it is called; "" before it runs
  std::string cache_salt;
  std::vector<model::ChatMessage> messages;
  std::vector<CallImage> images;              // what the messages' ImageParts index
  SamplingParams sampling;                    // without its constraint, which is made of `format`
  std::optional<model::AnswerFormat> format;  // the form that the answer has to have
  ToolUse tools;
  // Not empty: answers are not made, but these are scored, each as one of n choices.
  std::vector<std::string> continuations;
  // What stands before a path in the protocol: "request." or nothing; and, after that, before a
  // sampling parameter: "sampling." or nothing.
  std::string field_prefix;
  std::string sampling_field;
  int n = 1;
  scheduling::Priority priority = scheduling::Priority::kNormal;
  TimePoint arrival;
  std::optional<TimePoint> deadline;
  // Set when the client has gone; read while the call waits and is prepared.
  std::shared_ptr<const std::atomic<bool>> cancelled;
};

inline constexpr std::size_t kMaxCacheSaltBytes = 256;
inline constexpr int kMaxContinuations = scheduling::kMaxChoices;

// Makes of a call one that scores. REQUIRES: call.sampling and call.n are as they were made.
void SetContinuations(std::vector<std::string> continuations, ChatCall* call);

// Bounds of one request; from the configuration.
struct CallLimits {
  int max_messages = 256;
  int max_images = 16;
  std::int64_t max_image_bytes = std::int64_t{20} << 20;
  std::int64_t max_image_pixels = 50'000'000;
  std::int64_t max_text_bytes = std::int64_t{1} << 20;
  int max_n = 8;
};

// What a valid call weighs; known before any image is decoded.
struct CallWeight {
  std::int64_t bytes = 0;   // of text and images
  std::int64_t pixels = 0;  // from the images' headers
};

// Decides, once, all that a client says itself: counts, names, sampling, sizes. What is left is
// CheckTokenIds and, for the engine, scheduling::CheckRequest.
// INVALID_ARGUMENT with the path of the first wrong field. Reads the headers of the images.
absl::StatusOr<CallWeight> CheckCall(const ChatCall& call, const CallLimits& limits);

// INVALID_ARGUMENT with the path of a token id that the model does not have.
absl::Status CheckTokenIds(const ChatCall& call, int vocab_size);

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_CHAT_CALL_H_
