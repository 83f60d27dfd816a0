// The JSON of OpenAI's chat completions API as a neutral call. Strict: an unknown field, or one
// that asks for something that is not supported, is an error that names it.
#ifndef LLAVA_SERVER_API_OPENAI_REQUEST_H_
#define LLAVA_SERVER_API_OPENAI_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/chat/chat_call.h"

namespace llava::api {

// An image that another server has: the bytes of call.images[image].
struct RemoteImage {
  std::size_t image = 0;
  std::string url;
};

// Movable: the call's images point into `image_bytes`, which keeps its elements where they are, and
// into the body that was parsed.
struct OpenAiRequest {
  ChatCall call;
  std::deque<std::string> image_bytes;
  std::vector<RemoteImage> remote;  // to be fetched before the call may run
  bool stream = false;
  bool include_usage = false;
  bool token_ids = false;
  bool logprobs = false;
};

// The part of a form that holds the JSON.
inline constexpr absl::string_view kRequestPart = "request";

// The same for POST /v1/score: what is to be scored, and of the other fields those that say of what
// and for whom.
absl::StatusOr<OpenAiRequest> ParseScoreRequest(absl::string_view content_type,
                                                absl::string_view body);

// The body is JSON or, as its Content-Type says, a form with the JSON and images as raw bytes.
// INVALID_ARGUMENT with the path of the field; values are checked later (CheckCall). The body must
// outlive the request.
absl::StatusOr<OpenAiRequest> ParseOpenAiRequest(absl::string_view content_type,
                                                 absl::string_view body);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_REQUEST_H_
