// How the errors of requests are counted.
#ifndef LLAVA_SERVER_CHAT_API_ERROR_H_
#define LLAVA_SERVER_CHAT_API_ERROR_H_

#include <string>

#include "absl/status/status.h"

namespace llava::api {

// A short word for metrics: the code's name in lower case, such as "invalid_argument".
std::string ReasonOf(const absl::Status& status);

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_API_ERROR_H_
