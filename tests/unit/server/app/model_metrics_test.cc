#include "server/app/model_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>

namespace llava::server {
namespace {

using registry::VersionInfo;
using registry::VersionState;
using ::testing::HasSubstr;
using ::testing::Not;

class ModelMetricsTest : public ::testing::Test {
 protected:
  void Change(const std::string& name, VersionState state, const std::string& cause = "",
              double traffic = 0, double load_seconds = 0) {
    VersionInfo info;
    info.identity.digest = Sha256Of(name);
    info.state = state;
    info.traffic = traffic;
    info.load_seconds = load_seconds;
    metrics_.OnChange(info, cause);
  }
  std::string Scrape() const {
    return "\n" + prometheus::TextSerializer().Serialize(registry_.Collect());
  }
  static std::string Series(const std::string& name, const std::string& state) {
    return "llava_model_version_state{state=\"" + state + "\",version=\"" + Sha256Of(name).Hex() +
           "\"} 1\n";
  }
  static std::string Reloads(const std::string& outcome, const std::string& reason, int count) {
    return "llava_model_reloads_total{outcome=\"" + outcome + "\",reason=\"" + reason + "\"} " +
           std::to_string(count) + "\n";
  }
  static std::string Verdicts(const std::string& verdict, const std::string& reason, int count) {
    return "llava_model_canary_verdicts_total{reason=\"" + reason + "\",verdict=\"" + verdict +
           "\"} " + std::to_string(count) + "\n";
  }

  prometheus::Registry registry_;
  ModelMetrics metrics_{&registry_};
};

TEST_F(ModelMetricsTest, AVersionIsInOneState) {
  Change("a", VersionState::kVerifying);
  Change("a", VersionState::kLoading);
  EXPECT_THAT(Scrape(), HasSubstr(Series("a", "loading")));
  EXPECT_THAT(Scrape(), Not(HasSubstr("state=\"verifying\"")));
}

TEST_F(ModelMetricsTest, TheTrafficFollows) {
  Change("a", VersionState::kCanary, "", 0.25);
  EXPECT_THAT(Scrape(), HasSubstr(Sha256Of("a").Hex() + "\"} 0.25\n"));
  Change("a", VersionState::kLive, "", 1);
  EXPECT_THAT(Scrape(), HasSubstr("llava_model_version_traffic_ratio{version=\"" +
                                  Sha256Of("a").Hex() + "\"} 1\n"));
}

TEST_F(ModelMetricsTest, ALoadIsCountedOnceWhenItServes) {
  Change("a", VersionState::kDiscovered);
  Change("a", VersionState::kCanary, "", 0.1, 2.5);
  Change("a", VersionState::kLive, "enough answers", 1, 2.5);
  Change("a", VersionState::kKept);
  Change("a", VersionState::kDraining);
  EXPECT_THAT(Scrape(), HasSubstr(Reloads("serving", "", 1)));
  EXPECT_THAT(Scrape(), HasSubstr("llava_model_load_seconds_sum 2.5\n"));
  EXPECT_THAT(Scrape(), HasSubstr("llava_model_load_seconds_count 1\n"));
  EXPECT_THAT(Scrape(), Not(HasSubstr("outcome=\"rejected\"")));
}

TEST_F(ModelMetricsTest, TheSameVersionDiscoveredAgainIsAnotherLoad) {
  for (int i = 0; i < 2; ++i) {
    Change("a", VersionState::kDiscovered);
    Change("a", VersionState::kLive, "", 1, 1);
  }
  EXPECT_THAT(Scrape(), HasSubstr(Reloads("serving", "", 2)));
}

TEST_F(ModelMetricsTest, ARejectedOneNamesTheStateItFailedIn) {
  Change("a", VersionState::kDiscovered);
  Change("a", VersionState::kRejected, "verifying");
  EXPECT_THAT(Scrape(), HasSubstr(Reloads("rejected", "verifying", 1)));
  Change("b", VersionState::kDiscovered);
  Change("b", VersionState::kDraining, "probing");
  Change("b", VersionState::kRejected, "probing");
  EXPECT_THAT(Scrape(), HasSubstr(Reloads("rejected", "probing", 1)));
}

TEST_F(ModelMetricsTest, ACanaryEndsWithAVerdict) {
  Change("a", VersionState::kCanary);
  Change("a", VersionState::kCanary, "", 0.5);  // another share is none
  EXPECT_THAT(Scrape(), Not(HasSubstr("verdict=")));
  Change("a", VersionState::kLive, "enough_answers");
  EXPECT_THAT(Scrape(), HasSubstr(Verdicts("promoted", "enough_answers", 1)));
  Change("b", VersionState::kCanary);
  Change("b", VersionState::kDraining, "failures");
  EXPECT_THAT(Scrape(), HasSubstr(Verdicts("rolled_back", "failures", 1)));
}

TEST_F(ModelMetricsTest, SeriesOfVersionsThatAreGoneAreBounded) {
  Change("live", VersionState::kLive);
  for (int i = 0; i < 100; ++i) Change(std::to_string(i), VersionState::kFreed);
  const std::string text = Scrape();
  EXPECT_THAT(text, HasSubstr(Series("live", "live"))) << "the oldest, and still there";
  EXPECT_THAT(text, HasSubstr(Series("99", "freed")));
  EXPECT_THAT(text, HasSubstr(Series("69", "freed")));
  EXPECT_THAT(text, Not(HasSubstr(Sha256Of("68").Hex()))) << "the live one and 31 others are left";
}

}  // namespace
}  // namespace llava::server
