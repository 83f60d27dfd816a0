#include "training/distributed/ranks.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "tests/support/rank_threads.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

TEST(RanksTest, AloneEveryCallLeavesTheTensorAsItIs) {
  Ranks alone;
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.size(), 1);
  EXPECT_TRUE(alone.is_first());
  const at::Tensor tensor = at::arange(4, at::kFloat);
  EXPECT_TRUE(alone.Sum(tensor)().ok());
  EXPECT_TRUE(alone.SumTo(tensor, 0)().ok());
  EXPECT_TRUE(alone.Broadcast(tensor, 0)().ok());
  EXPECT_TRUE(alone.Barrier().ok());
  EXPECT_TRUE(at::equal(tensor, at::arange(4, at::kFloat)));
  alone.Leave(absl::OkStatus());
}

// Of one rank Join asks for no address.
TEST(RanksTest, ARunOfOneRankMeetsNobody) {
  const RealClock clock;
  const auto ranks = Ranks::Join({}, {}, clock);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  EXPECT_EQ((*ranks)->size(), 1);
}

TEST(RanksTest, CollectivesReachEveryRankOrTheRootAlone) {
  test::OnRanks(3, [](Ranks& ranks) {
    EXPECT_EQ(ranks.size(), 3);
    EXPECT_EQ(ranks.is_first(), ranks.rank() == 0);
    const at::Tensor everywhere = at::full({5}, 1.0 + ranks.rank());
    EXPECT_TRUE(ranks.Sum(everywhere)().ok());
    EXPECT_TRUE(at::equal(everywhere, at::full({5}, 6.0))) << everywhere;

    const at::Tensor at_root = at::full({5}, 10.0 + ranks.rank());
    EXPECT_TRUE(ranks.SumTo(at_root, 2)().ok());
    if (ranks.rank() == 2) {
      EXPECT_TRUE(at::equal(at_root, at::full({5}, 33.0))) << at_root;
    }

    const at::Tensor from_root = at::full({5}, 7.0 * ranks.rank());
    EXPECT_TRUE(ranks.Broadcast(from_root, 1)().ok());
    EXPECT_TRUE(at::equal(from_root, at::full({5}, 7.0))) << from_root;
  });
}

TEST(RanksTest, CallsThatOverlapKeepTheirOrder) {
  test::OnRanks(2, [](Ranks& ranks) {
    const at::Tensor first = at::full({3}, 1.0 + ranks.rank());
    const at::Tensor second = at::full({3}, 10.0 + ranks.rank());
    const Ranks::Pending one = ranks.Sum(first);
    const Ranks::Pending two = ranks.Sum(second);
    EXPECT_TRUE(two().ok());
    EXPECT_TRUE(one().ok());
    EXPECT_EQ(first[0].item<float>(), 3.0F);
    EXPECT_EQ(second[0].item<float>(), 21.0F);
  });
}

TEST(RanksTest, NobodyPassesABarrierBeforeAllAreThere) {
  std::atomic<int> arrived = 0;
  test::OnRanks(3, [&](Ranks& ranks) {
    ++arrived;
    EXPECT_TRUE(ranks.Barrier().ok());
    EXPECT_EQ(arrived, 3);
  });
}

TEST(RanksTest, NamesTheRanksThatDidNotCome) {
  const RealClock clock;
  RanksOptions options;
  options.join_within = std::chrono::milliseconds(300);
  const RankPlace first{0, 3, 0, "127.0.0.1", test::FreePort()};
  const absl::Status status = Ranks::Join(first, options, clock).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("of 3 ranks these did not come within"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(": 1, 2"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 0 at 127.0.0.1:"));
}

TEST(RanksTest, NamesTheAddressThatDoesNotAnswer) {
  const RealClock clock;
  RanksOptions options;
  options.join_within = std::chrono::milliseconds(300);
  const std::uint16_t port = test::FreePort();
  const absl::Status status = Ranks::Join({1, 2, 0, "127.0.0.1", port}, options, clock).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("rank 0 at 127.0.0.1:" + std::to_string(port)));
}

}  // namespace
}  // namespace llava::training
