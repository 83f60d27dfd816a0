// What requests about captured answers share, whatever the protocol.
#ifndef LLAVA_SERVER_CHAT_FEEDBACK_H_
#define LLAVA_SERVER_CHAT_FEEDBACK_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::api {

// Whom a request without a tenant is accounted to: `default`.
std::string NamedTenant(const std::string& tenant);

// NOT_FOUND, for those who ask about answers where none are kept.
absl::Status NothingIsCaptured();

// The id of an answer as the server knows it, of what a client got: `chatcmpl-` may stand in front.
// INVALID_ARGUMENT (FieldOf: "id") when it is no id.
absl::StatusOr<std::string> AnswerOf(absl::string_view id);

// Of a recorder that is behind: with scheduling::RetryAfter. Other statuses stay as they are.
absl::Status WithTimeToRetry(const absl::Status& status);

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_FEEDBACK_H_
