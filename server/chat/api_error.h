// What a refused request is told beside a code and a message: which field is wrong.
#ifndef LLAVA_SERVER_CHAT_API_ERROR_H_
#define LLAVA_SERVER_CHAT_API_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace llava::api {

// INVALID_ARGUMENT "<field>: <message>" that remembers the field's path, such as
// "messages[0].parts[1].image".
absl::Status FieldError(absl::string_view field, absl::string_view message);

// `status` with the path of its field; an OK status stays OK. The message is kept.
absl::Status WithField(absl::Status status, absl::string_view field);

// The path; empty when the status names no field.
std::string FieldOf(const absl::Status& status);

// A short word for metrics: the code's name in lower case, such as "invalid_argument".
std::string ReasonOf(const absl::Status& status);

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_API_ERROR_H_
