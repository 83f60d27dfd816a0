// Bearer tokens. The file holds hashes only; a token is as long and random as its maker makes it,
// so one round of SHA-256 is enough (there is nothing to guess as there is in a password).
#ifndef LLAVA_RPC_AUTH_H_
#define LLAVA_RPC_AUTH_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace llava::rpc {

enum class Role { kChat, kAdmin };

// Immutable and thread-safe.
class Auth {
 public:
  // Everybody may do everything.
  Auth() = default;

  // Lines `NAME ROLES sha256:HEX`; empty lines and those with # are skipped. INVALID_ARGUMENT names
  // the line; NOT_FOUND when there is no such file.
  static absl::StatusOr<Auth> FromFile(const std::string& path);
  static absl::StatusOr<Auth> FromText(absl::string_view text, absl::string_view source);

  // Whose token it is (empty without tokens). `authorization` is the header's value.
  // UNAUTHENTICATED without a known token, PERMISSION_DENIED without the role. Takes the same time
  // for every wrong token.
  absl::StatusOr<std::string> Check(absl::string_view authorization, Role role) const;

 private:
  struct Token {
    std::string name;
    bool chat = false;
    bool admin = false;
    Digest hash;
  };
  static absl::StatusOr<Token> ParseLine(absl::string_view line);

  bool open_ = true;
  std::vector<Token> tokens_;
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_AUTH_H_
