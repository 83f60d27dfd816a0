#include "server/chat/api_error.h"

#include "absl/strings/ascii.h"

namespace llava::api {

std::string ReasonOf(const absl::Status& status) {
  return absl::AsciiStrToLower(absl::StatusCodeToString(status.code()));
}

}  // namespace llava::api
