#include "server/chat/feedback.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/field_error.h"
#include "base/utf8_stream.h"
#include "server/chat/request_id.h"
#include "server/scheduling/admission.h"

namespace llava::api {

std::string NamedTenant(const std::string& tenant) { return tenant.empty() ? "default" : tenant; }

absl::Status NothingIsCaptured() {
  return absl::NotFoundError("no answers are kept: the server's option capture_dir is empty");
}

absl::StatusOr<std::string> AnswerOf(absl::string_view id) {
  const absl::string_view plain = absl::StripPrefix(id, "chatcmpl-");
  if (IsRequestId(plain)) return std::string(plain);
  return FieldError("id", absl::StrCat("is '", Utf8Repair(StdView(id.substr(0, 64))),
                                       "', expected the id of an answer"));
}

absl::Status WithTimeToRetry(const absl::Status& status) {
  if (!absl::IsResourceExhausted(status)) return status;
  return scheduling::WithRetryAfter(status, std::chrono::seconds(1));
}

}  // namespace llava::api
