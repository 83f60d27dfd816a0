#include "server/registry/version_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/scheduling/admission.h"

namespace llava::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class VersionDirectoryTest : public ::testing::Test {
 protected:
  static std::shared_ptr<const ServedModel> Model(const std::string& name) {
    auto model = std::make_shared<ServedModel>();
    model->version = name;
    model->digest = Sha256Of(name);
    return model;
  }
  void Show(Routes routes) {
    for (const auto& then : directory_.Exchange(std::move(routes)).waiting) then();
  }
  std::string Find(const std::string& key = "") {
    const auto found = directory_.Find("", key);
    return found.ok() ? (*found)->version : std::string(found.status().message());
  }
  Duration RetryAfter() { return *scheduling::RetryAfter(directory_.Find("", "").status()); }

  ManualClock clock_;
  std::vector<Digest> answered_;
  VersionDirectory directory_{
      "llava", {"gpt-4o", "eyes"}, &clock_, [this](const Digest& version, const Observation&) {
        answered_.push_back(version);
      }};
};

TEST_F(VersionDirectoryTest, NothingAnswersAtFirst) {
  EXPECT_THAT(Find(), HasSubstr("no version of llava is live yet"));
  EXPECT_EQ(directory_.Find("", "").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(directory_.AfterSwap([] {}));
  EXPECT_TRUE(directory_.List().empty());
}

TEST_F(VersionDirectoryTest, EqualKeysSeeTheSameVersionAndTheCanaryItsShare) {
  Show({.live = Model("a"), .canary = Model("b"), .canary_share = 0.25});
  EXPECT_TRUE(directory_.IsJudging());
  EXPECT_EQ(directory_.List().size(), 2u);
  int canary = 0;
  for (int i = 0; i < 4000; ++i) {
    const std::string version = Find(std::to_string(i));
    EXPECT_EQ(version, Find(std::to_string(i)));
    if (version == "b") ++canary;
  }
  EXPECT_NEAR(canary, 1000, 120);
  EXPECT_THAT(directory_.Find("other", "").status().message(), HasSubstr("expected llava"));
}

TEST_F(VersionDirectoryTest, AModelAnswersToItsAliases) {
  Show({.live = Model("a")});
  for (const char* name : {"", "llava", "gpt-4o", "eyes"}) {
    EXPECT_EQ((*directory_.Find(name, ""))->version, "a");
  }
  const absl::Status other = directory_.Find("eye", "").status();
  EXPECT_EQ(other.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(other.message(), "model: eye is not served here, expected llava or gpt-4o or eyes");
}

TEST_F(VersionDirectoryTest, AFlipLeavesThoseAloneWhoHaveTheirs) {
  Show({.live = Model("a")});
  const auto mine = *directory_.Find("", "");
  Show({.live = Model("b")});
  EXPECT_EQ(mine->version, "a");
  EXPECT_EQ(mine.use_count(), 1);  // the directory has let it go
  EXPECT_EQ(Find(), "b");
}

TEST_F(VersionDirectoryTest, CallersWaitForTheEndOfASwap) {
  Routes swapping;
  swapping.swap = {clock_.Now(), std::chrono::seconds(20)};
  Show(swapping);
  EXPECT_EQ(directory_.Find("", "").status().code(), absl::StatusCode::kUnavailable);
  std::string seen;
  ASSERT_TRUE(directory_.AfterSwap([&] { seen = Find(); }));
  Show(swapping);
  EXPECT_EQ(seen, "");
  Show({.live = Model("b")});
  EXPECT_EQ(seen, "b");
}

TEST_F(VersionDirectoryTest, OneVerySlowLoadDoesNotSendClientsAwayForHours) {
  Routes swapping;
  swapping.swap = {clock_.Now(), std::chrono::hours(3)};
  Show(swapping);
  EXPECT_EQ(RetryAfter(), std::chrono::minutes(1));
  swapping.swap->expected = std::chrono::seconds(20);
  Show(swapping);
  EXPECT_EQ(RetryAfter(), std::chrono::seconds(20));
  clock_.Advance(std::chrono::seconds(40));
  EXPECT_EQ(RetryAfter(), std::chrono::seconds(1));
}

TEST_F(VersionDirectoryTest, AnswersAreHandedOn) {
  directory_.Observe(Sha256Of("a"), {});
  EXPECT_THAT(answered_, ElementsAre(Sha256Of("a")));
}

}  // namespace
}  // namespace llava::registry
