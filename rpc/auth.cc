#include "rpc/auth.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstddef>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::rpc {
namespace {

constexpr std::size_t kMaxTokenFileBytes = std::size_t{16} << 20;

}  // namespace

absl::Status CheckName(absl::string_view name) {
  const bool control = std::any_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
  if (name.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", name.size(), " bytes, expected at most ", kMaxNameBytes));
  }
  if (!control && IsValidUtf8({name.data(), name.size()})) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "is \"", absl::CHexEscape(name), "\", expected valid UTF-8 without control characters"));
}

absl::StatusOr<std::string> TenantOf(const Caller& caller, absl::string_view asked) {
  if (asked.empty() || asked == caller.name) return caller.name;
  RETURN_IF_ERROR(CheckName(asked));
  if (caller.may_name_tenants) return std::string(asked);
  return absl::PermissionDeniedError(absl::StrCat("the token of ", caller.name,
                                                  " lacks the role tenants, without which it is "
                                                  "its own tenant and may not name ",
                                                  asked));
}

absl::StatusOr<Auth::Token> Auth::ParseLine(absl::string_view line) {
  const std::vector<std::string> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (words.size() != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat(words.size(), " words, expected: NAME ROLES sha256:HEX"));
  }
  Token token;
  token.name = words[0];
  RETURN_IF_ERROR(Annotate(CheckName(token.name), "the name"));
  for (const absl::string_view role : absl::StrSplit(words[1], ',')) {
    if (role != "chat" && role != "admin" && role != "tenants") {
      return absl::InvalidArgumentError(
          absl::StrCat("role ", role, ", expected chat, admin or tenants"));
    }
    (role == "chat" ? token.chat : role == "admin" ? token.admin : token.tenants) = true;
  }
  absl::string_view hex = words[2];
  const bool well_formed = absl::ConsumePrefix(&hex, "sha256:") && hex.size() == 64 &&
                           hex.find_first_not_of("0123456789abcdefABCDEF") == hex.npos;
  if (!well_formed) {
    return absl::InvalidArgumentError("expected sha256: and 64 hexadecimal digits");
  }
  const std::string bytes = absl::HexStringToBytes(hex);
  std::memcpy(token.hash.bytes.data(), bytes.data(), token.hash.bytes.size());
  return token;
}

absl::StatusOr<Auth> Auth::FromText(absl::string_view text, absl::string_view source) {
  std::vector<Token> tokens;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    auto token = ParseLine(line);
    if (!token.ok()) {
      const std::string place = absl::StrCat(source, ":", number);
      return Annotate(token.status(), place);
    }
    tokens.push_back(*std::move(token));
  }
  if (tokens.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": holds no token"));
  }
  Auth auth;
  auth.tokens_->Set(std::make_shared<const List>(std::move(tokens)));
  return auth;
}

absl::StatusOr<Auth> Auth::FromFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxTokenFileBytes));
  return FromText(text, path);
}

absl::StatusOr<const Auth::Token*> Auth::Find(const std::vector<Token>& tokens,
                                              absl::string_view authorization) {
  constexpr absl::string_view kScheme = "bearer ";
  if (!absl::StartsWithIgnoreCase(authorization, kScheme)) {
    return absl::UnauthenticatedError("authorization: expected `Bearer <token>`");
  }
  const absl::string_view secret = absl::StripAsciiWhitespace(authorization.substr(kScheme.size()));
  const Digest hash = Sha256Of({secret.data(), secret.size()});
  const Token* match = nullptr;
  for (const Token& token : tokens) {
    if (CRYPTO_memcmp(token.hash.bytes.data(), hash.bytes.data(), hash.bytes.size()) == 0) {
      match = &token;
    }
  }
  if (match == nullptr) return absl::UnauthenticatedError("authorization: the token is not known");
  return match;
}

bool Auth::has_several_tenants() const {
  const std::shared_ptr<const List> list = tokens_->Get();
  if (!list->has_value()) return false;
  std::set<std::string> names;
  for (const Token& token : **list) {
    if (token.tenants) return true;
    if (token.chat) names.insert(token.name);
  }
  return names.size() > 1;
}

absl::StatusOr<Caller> Auth::CheckAny(absl::string_view authorization) const {
  const std::shared_ptr<const List> list = tokens_->Get();
  if (!list->has_value()) return Caller();
  ASSIGN_OR_RETURN(const Token* match, Find(**list, authorization));
  return Caller{match->name, match->tenants};
}

absl::StatusOr<Caller> Auth::Check(absl::string_view authorization, Role role) const {
  const std::shared_ptr<const List> list = tokens_->Get();
  if (!list->has_value()) return Caller();
  ASSIGN_OR_RETURN(const Token* match, Find(**list, authorization));
  if (!(role == Role::kChat ? match->chat : match->admin)) {
    return absl::PermissionDeniedError(absl::StrCat("authorization: the token of ", match->name,
                                                    " lacks the role ",
                                                    role == Role::kChat ? "chat" : "admin"));
  }
  return Caller{match->name, match->tenants};
}

}  // namespace llava::rpc
