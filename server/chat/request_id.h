// Names of requests, in logs and answers.
#ifndef LLAVA_SERVER_CHAT_REQUEST_ID_H_
#define LLAVA_SERVER_CHAT_REQUEST_ID_H_

#include <string>

#include "absl/strings/string_view.h"

namespace llava::api {

// Whether it is one: 1 to 128 letters, digits, '-', '_', '.' or ':'.
bool IsRequestId(absl::string_view id);

// `wanted`, when it is one; else a new random one.
std::string RequestIdOr(absl::string_view wanted);

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_REQUEST_ID_H_
