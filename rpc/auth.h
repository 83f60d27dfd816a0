// Bearer tokens. The file holds hashes only; a token is as long and random as its maker makes it,
// so one round of SHA-256 is enough (there is nothing to guess as there is in a password).
#ifndef LLAVA_RPC_AUTH_H_
#define LLAVA_RPC_AUTH_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace llava::rpc {

enum class Role { kChat, kAdmin };

// Longest name of a token or tenant, in bytes.
inline constexpr std::size_t kMaxNameBytes = 256;

// Who calls.
struct Caller {
  std::string name;              // of the token; empty without tokens
  bool may_name_tenants = true;  // role `tenants`, or no tokens at all
};

// OK for a name that may stand in metrics and logs: valid UTF-8 without control characters, at most
// kMaxNameBytes. INVALID_ARGUMENT says what the name is, escaped, and what was expected.
absl::Status CheckName(absl::string_view name);

// Whom a request is accounted to: the caller, or `asked` where the request names a tenant (empty:
// it does not). PERMISSION_DENIED when the caller may not name another than itself,
// INVALID_ARGUMENT of CheckName.
absl::StatusOr<std::string> TenantOf(const Caller& caller, absl::string_view asked);

// Immutable and thread-safe.
class Auth {
 public:
  // Everybody may do everything.
  Auth() = default;

  // Lines `NAME ROLES sha256:HEX`, roles chat, admin and tenants with commas between them; empty
  // lines and those with # are skipped. INVALID_ARGUMENT names the line; NOT_FOUND when there is no
  // such file.
  static absl::StatusOr<Auth> FromFile(const std::string& path);
  static absl::StatusOr<Auth> FromText(absl::string_view text, absl::string_view source);

  // Whose token it is. `authorization` is the header's value.
  // UNAUTHENTICATED without a known token, PERMISSION_DENIED without the role. Takes the same time
  // for every wrong token.
  absl::StatusOr<Caller> Check(absl::string_view authorization, Role role) const;

  // The same for what is open to every token.
  absl::StatusOr<Caller> CheckAny(absl::string_view authorization) const;

 private:
  struct Token {
    std::string name;
    bool chat = false;
    bool admin = false;
    bool tenants = false;
    Digest hash;
  };
  static absl::StatusOr<Token> ParseLine(absl::string_view line);
  absl::StatusOr<const Token*> Find(absl::string_view authorization) const;

  bool open_ = true;
  std::vector<Token> tokens_;
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_AUTH_H_
