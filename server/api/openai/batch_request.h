// What OpenAI's files and batches are made of, read strictly: an unknown field is an error.
#ifndef LLAVA_SERVER_API_OPENAI_BATCH_REQUEST_H_
#define LLAVA_SERVER_API_OPENAI_BATCH_REQUEST_H_

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::api {

// `content` points into the body.
struct FileUpload {
  std::string name = {};
  std::string purpose = {};
  absl::string_view content = {};
  std::int64_t lifetime = 0;  // seconds; 0: not said
};

struct BatchRequest {
  std::string input_file = {};
  std::string endpoint = {};
  std::string window = {};
  std::int64_t window_seconds = 0;
  std::int64_t lifetime = 0;  // of its output, in seconds; 0: not said
  boost::json::object metadata = {};
};

// The longest that anything may be asked to last.
inline constexpr std::int64_t kMaxLifetime = 30 * 86400;

// Of a form with the parts `file`, `purpose` (batch) and perhaps `expires_after[anchor]` and
// `expires_after[seconds]`. INVALID_ARGUMENT with the part's name.
absl::StatusOr<FileUpload> ParseFileUpload(absl::string_view content_type, absl::string_view body);

// INVALID_ARGUMENT with the field's path.
absl::StatusOr<BatchRequest> ParseBatchRequest(absl::string_view body);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_BATCH_REQUEST_H_
