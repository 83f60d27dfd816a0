#include "rpc/auth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/digest.h"

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
  EXPECT_EQ(auth->Check("Bearer a", Role::kChat).value(), "alice");
  EXPECT_EQ(auth->Check("bearer r", Role::kAdmin).value(), "root");
  EXPECT_EQ(auth->Check("Bearer a", Role::kAdmin).status().code(),
            absl::StatusCode::kPermissionDenied);
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
  EXPECT_THAT(error("# nobody\n"), HasSubstr("holds no token"));
  EXPECT_EQ(Auth::FromFile("/nonexistent").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace llava::rpc
