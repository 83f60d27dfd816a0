// What OpenAI's files and batches are made of, read strictly: an unknown field is an error.
#ifndef LLAVA_SERVER_API_OPENAI_BATCH_REQUEST_H_
#define LLAVA_SERVER_API_OPENAI_BATCH_REQUEST_H_

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/api/openai/multipart.h"

namespace llava::api {

struct FileUpload {
  std::string name = {};
  std::string purpose = {};
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

// A form with the parts `file`, `purpose` (batch) and perhaps `expires_after[anchor]` and
// `expires_after[seconds]`, as it comes. Errors are INVALID_ARGUMENT with the part's name, or those
// of FormReader. Movable; not thread-safe.
class FileUploadReader {
 public:
  static absl::StatusOr<FileUploadReader> Make(absl::string_view content_type);

  // The next bytes of the form; appends what of them is the file's to `content`.
  absl::Status Read(absl::string_view bytes, std::string* content);

  // The form has ended.
  absl::StatusOr<FileUpload> Finish();

 private:
  explicit FileUploadReader(FormReader form) : form_(std::move(form)) {}
  absl::Status BeginPart(FormPiece piece);
  absl::Status EndPart();

  FormReader form_;
  FileUpload upload_;
  bool has_file_ = false;
  std::string part_;   // the name of the one that comes
  std::string value_;  // of it, unless it is the file
};

// INVALID_ARGUMENT with the field's path.
absl::StatusOr<BatchRequest> ParseBatchRequest(absl::string_view body);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_BATCH_REQUEST_H_
