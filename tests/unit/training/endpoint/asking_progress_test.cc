#include "training/endpoint/asking_progress.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

TEST(AskingProgress, SaysRateCostAndTimeLeftOfWhatWasAsked) {
  EndpointOptions options;
  options.base_url = "http://127.0.0.1:9/v1";
  options.model = "m";
  Ledger ledger;
  LedgerEntry paid;
  paid.status = "ok";
  paid.cost = 0.5;
  ASSERT_TRUE(ledger.Append(paid).ok());
  ManualClock clock;
  const auto endpoint = Endpoint::Make(options, std::move(ledger), &clock);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  std::vector<std::string> said;
  const std::function<void(const std::string&)> say = [&](const std::string& line) {
    said.push_back(line);
  };
  AskingProgress progress(clock, **endpoint, say, /*done=*/100, /*all=*/162);
  progress.Answered();
  EXPECT_TRUE(said.empty());  // so soon
  clock.Advance(std::chrono::seconds(4));
  progress.Answered();
  EXPECT_TRUE(said.empty());
  clock.Advance(std::chrono::seconds(6));
  progress.Answered();  // 3 in 10 s, and 59 to come
  for (int i = 0; i < 59; ++i) progress.Answered();
  EXPECT_THAT(said, testing::ElementsAre("103 of 162, 0.30/s, cost 0.5000, 3 min left",
                                         "162 of 162, 6.20/s, cost 0.5000, 0 min left"));
}

}  // namespace
}  // namespace llava::training
