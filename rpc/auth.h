// Bearer tokens. The file holds hashes only; a token is as long and random as its maker makes it,
// so one round of SHA-256 is enough (there is nothing to guess as there is in a password).
#ifndef LLAVA_RPC_AUTH_H_
#define LLAVA_RPC_AUTH_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "base/mutex.h"

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

// Thread-safe.
class Auth {
 public:
  // Everybody may do everything.
  Auth() : tokens_(std::make_unique<Tokens>()) {}

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

  // Whether everybody may do everything.
  bool open() const { return !tokens_->Get()->has_value(); }

  // Whether requests may be accounted to more than one tenant that is known by its token: tokens
  // with several names, or one with the role `tenants`. False when open.
  bool has_several_tenants() const;

  // For calls that come from now on: the tokens of `other`.
  void Replace(const Auth& other) { tokens_->Set(other.tokens_->Get()); }

 private:
  struct Token {
    std::string name;
    bool chat = false;
    bool admin = false;
    bool tenants = false;
    Digest hash;
  };
  using List = std::optional<std::vector<Token>>;  // nothing: open

  // The list of the moment. Who has one keeps it.
  class Tokens {
   public:
    std::shared_ptr<const List> Get() const {
      MutexLock lock(&mutex_);
      return list_;
    }
    void Set(std::shared_ptr<const List> list) {
      MutexLock lock(&mutex_);
      list_ = std::move(list);
    }

   private:
    mutable Mutex mutex_;
    std::shared_ptr<const List> list_ ABSL_GUARDED_BY(mutex_) = std::make_shared<const List>();
  };

  static absl::StatusOr<Token> ParseLine(absl::string_view line);
  static absl::StatusOr<const Token*> Find(const std::vector<Token>& tokens,
                                           absl::string_view authorization);

  std::unique_ptr<Tokens> tokens_;  // behind a pointer so that this can be moved
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_AUTH_H_
