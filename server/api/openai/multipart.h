// The body of a form (multipart/form-data, RFC 7578) as its parts: how images come as raw bytes.
#ifndef LLAVA_SERVER_API_OPENAI_MULTIPART_H_
#define LLAVA_SERVER_API_OPENAI_MULTIPART_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::api {

// All point into the body.
struct FormPart {
  absl::string_view name;
  absl::string_view content;
  absl::string_view file_name;  // empty: none
};

// Whether a Content-Type says that the body is a form.
bool IsForm(absl::string_view content_type);

// The parts in their order. INVALID_ARGUMENT when the boundary is missing, a part has no name, or
// the body ends before its last boundary; also for more than kMaxFormParts parts.
inline constexpr std::size_t kMaxFormParts = 1025;
absl::StatusOr<std::vector<FormPart>> ParseForm(absl::string_view content_type,
                                                absl::string_view body);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_MULTIPART_H_
