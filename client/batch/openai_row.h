// Rows of OpenAI's batch format as requests.
#ifndef LLAVA_CLIENT_BATCH_OPENAI_ROW_H_
#define LLAVA_CLIENT_BATCH_OPENAI_ROW_H_

#include <boost/json/object.hpp>
#include <filesystem>

#include "absl/status/status.h"
#include "llava/v1/chat.pb.h"

namespace llava::client {

// {"custom_id": ..., "method": "POST", "url": "/v1/chat/completions", "body": {...}}: the body goes
// over what `request` holds. Pictures are data: URIs of base64, or paths from `folder`.
// INVALID_ARGUMENT names a field that is wrong, or that this cannot do; NOT_FOUND: a picture.
absl::Status FillFromOpenAi(const boost::json::object& row, const std::filesystem::path& folder,
                            v1::ChatRequest* request);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_BATCH_OPENAI_ROW_H_
