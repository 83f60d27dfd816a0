#include "rpc/auth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace llava::rpc {
namespace {

using ::testing::HasSubstr;

std::string Line(const std::string& name, const std::string& roles, const std::string& token) {
  return name + " " + roles + " sha256:" + Sha256Of(token).Hex() + "\n";
}

TEST(AuthTest, WithoutTokensEverybodyMayDoEverything) {
  EXPECT_TRUE(Auth().Check("", Role::kAdmin).ok());
}

TEST(AuthTest, ATokenHasItsRolesOnly) {
  const auto auth = Auth::FromText(
      "# who may\n\n" + Line("alice", "chat", "a") + Line("root", "chat,admin", "r"), "tokens");
  ASSERT_TRUE(auth.ok()) << auth.status();
  EXPECT_EQ(auth->Check("Bearer a", Role::kChat)->name, "alice");
  EXPECT_EQ(auth->Check("bearer r", Role::kAdmin)->name, "root");
  EXPECT_EQ(auth->Check("Bearer a", Role::kAdmin).status().code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(auth->Check("Bearer  a\t", Role::kChat)->name,
            "alice");  // white space is no part of it
  for (const char* wrong : {"", "a", "Bearer", "Bearer ", "Bearer b", "Basic a", "Bearer aa"}) {
    EXPECT_EQ(auth->Check(wrong, Role::kChat).status().code(), absl::StatusCode::kUnauthenticated)
        << wrong;
  }
}

TEST(AuthTest, AWrongFileNamesTheLine) {
  const auto error = [](const std::string& text) {
    return std::string(Auth::FromText(text, "tokens").status().message());
  };
  EXPECT_THAT(error("\nalice chat\n"), HasSubstr("tokens:2: 2 words, expected: NAME ROLES"));
  EXPECT_THAT(error("alice boss sha256:00\n"), HasSubstr("tokens:1: role boss"));
  EXPECT_THAT(error("alice chat sha256:00\n"), HasSubstr("tokens:1: expected sha256:"));
  const std::string hex = Sha256Of("a").Hex();
  EXPECT_THAT(error("alice chat sha256:" + hex + "00\n"), HasSubstr("tokens:1: expected sha256:"));
  EXPECT_THAT(error("alice chat sha256:" + hex.substr(1) + "g\n"), HasSubstr("64 hexadecimal"));
  EXPECT_THAT(error("# nobody\n"), HasSubstr("holds no token"));
  EXPECT_EQ(Auth::FromFile("/nonexistent").status().code(), absl::StatusCode::kNotFound);
}

TEST(AuthTest, ATenantIsTheTokenUnlessItMayNameOthers) {
  const auto auth = Auth::FromText(
      Line("alice", "chat", "a") + Line("proxy", "chat,tenants", "p") + Line("root", "admin", "r"),
      "tokens");
  const Caller alice = *auth->Check("Bearer a", Role::kChat);
  EXPECT_EQ(TenantOf(alice, "").value(), "alice");
  EXPECT_EQ(TenantOf(alice, "alice").value(), "alice");
  EXPECT_EQ(TenantOf(alice, "bob").status().code(), absl::StatusCode::kPermissionDenied);
  const Caller proxy = *auth->Check("Bearer p", Role::kChat);
  EXPECT_EQ(TenantOf(proxy, "").value(), "proxy");
  EXPECT_EQ(TenantOf(proxy, "bob").value(), "bob");
  EXPECT_EQ(TenantOf(Caller(), "bob").value(), "bob");
  EXPECT_EQ(TenantOf(Caller(), "").value(), "");
  EXPECT_EQ(auth->CheckAny("Bearer r")->name, "root");
  EXPECT_FALSE(auth->CheckAny("Bearer x").ok());
}

TEST(AuthTest, KnowsWhetherThereIsMoreThanOneTenant) {
  const auto several = [](const std::string& text) {
    return Auth::FromText(text, "tokens")->has_several_tenants();
  };
  EXPECT_FALSE(Auth().has_several_tenants());
  EXPECT_FALSE(several(Line("alice", "chat", "a") + Line("root", "admin", "r")));
  EXPECT_FALSE(several(Line("alice", "chat", "a") + Line("alice", "chat", "b")));
  EXPECT_TRUE(several(Line("alice", "chat", "a") + Line("bob", "chat", "b")));
  EXPECT_TRUE(several(Line("proxy", "chat,tenants", "p")));
}

TEST(AuthTest, ANameIsTextThatMayStandInMetricsAndLogs) {
  EXPECT_TRUE(CheckName("Zo\u00eb / team-7").ok());
  EXPECT_TRUE(CheckName(std::string(kMaxNameBytes, 'x')).ok());
  for (const std::string& wrong :
       {std::string("a\xff"), std::string("a\nb"), std::string("\x1b[2J"), std::string("a\0b", 3),
        std::string("\xed\xa0\x80"), std::string(kMaxNameBytes + 1, 'x')}) {
    EXPECT_EQ(CheckName(wrong).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE(TenantOf(Caller(), wrong).ok());
  }
  EXPECT_THAT(std::string(CheckName("a\xff").message()), HasSubstr("a\\xff"));
  EXPECT_FALSE(Auth::FromText(Line("al\xffice", "chat", "a"), "tokens").ok());
}

}  // namespace
}  // namespace llava::rpc
