// The JSON of OpenAI's chat completions API as a neutral call. Strict: an unknown field, or one
// that asks for something that is not supported, is an error that names it.
#ifndef LLAVA_SERVER_API_HTTP_OPENAI_REQUEST_H_
#define LLAVA_SERVER_API_HTTP_OPENAI_REQUEST_H_

#include <boost/json/value.hpp>
#include <deque>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/api/chat_call.h"

namespace llava::api {

// Movable: the call's pictures point into `pictures`, which keeps its elements where they are.
struct OpenAiRequest {
  ChatCall call;
  std::deque<std::string> pictures;
  bool stream = false;
  bool include_usage = false;
  bool token_ids = false;
  bool logprobs = false;
};

// INVALID_ARGUMENT with the path of the field; values are checked later (CheckCall). A picture is a
// data: URI with base64.
absl::StatusOr<OpenAiRequest> ParseOpenAiRequest(absl::string_view json);

// With a bound on depth. INVALID_ARGUMENT unless the text is one JSON object.
absl::StatusOr<boost::json::object> ParseJsonObject(absl::string_view json);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_OPENAI_REQUEST_H_
