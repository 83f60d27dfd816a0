#include "server/chat/request_id.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "base/check.h"

namespace llava::api {
namespace {

constexpr std::size_t kMaxBytes = 128;

bool IsPlain(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' ||
         c == ':';
}

}  // namespace

bool IsRequestId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxBytes && std::all_of(id.begin(), id.end(), IsPlain);
}

std::string RequestIdOr(absl::string_view wanted) {
  if (IsRequestId(wanted)) return std::string(wanted);
  std::array<unsigned char, 12> bytes;
  LLAVA_CHECK_EQ(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())), 1);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace llava::api
