// Each invariant is broken by hand, and named.
#include "server/scheduling/invariants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/server/scheduling/scheduler_harness.h"

namespace llava::scheduling {
namespace {

using ::testing::StartsWith;

class InvariantsTest : public ::testing::Test {
 protected:
  static SchedulerOptions Options() {
    SchedulerOptions options;
    options.num_blocks = 16;
    options.max_batch_tokens = 40;
    options.max_running = 2;
    options.feature_bytes_per_token = 1;
    options.feature_cache_bytes = 100;
    return options;
  }

  // Two prompts in one step, the second with an image; a third one waits.
  InvariantsTest() {
    std::vector<Event> events;
    events.emplace_back(AddVersion{version_});
    for (int i = 1; i <= 3; ++i) {
      auto request = std::make_unique<Request>();
      request->id = RequestId(static_cast<std::uint64_t>(i));
      request->version = version_;
      request->arrival = now_;
      request->prompt_ids.assign(18, 100 * i);
      if (i == 2) {
        request->images.emplace_back();
        request->images[0].offset = 2;
        request->images[0].count = 5;
      }
      events.emplace_back(Arrive{std::move(request)});
    }
    out_ = &scheduler_.Tick(now_, events);
    EXPECT_EQ(out_->plan.chunks.size(), 2u);
    EXPECT_TRUE(CheckInvariants(scheduler_).ok()) << CheckInvariants(scheduler_);
  }

  RequestState& State(std::uint64_t id) { return *scheduler_.requests().at(RequestId(id)); }
  Sequence& First(std::uint64_t id) { return *State(id).choices[0]; }

  void ExpectBroken(int number) {
    const absl::Status status = CheckInvariants(scheduler_);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()),
                StartsWith("invariant " + std::to_string(number) + ":"));
  }

  const Digest version_ = Sha256Of("v1");
  const TimePoint now_{std::chrono::seconds(1)};
  Scheduler scheduler_{Options()};
  TickOutput* out_ = nullptr;
};

TEST_F(InvariantsTest, ABlockInATableThatDoesNotCountOnIt) {
  First(1).blocks.push_back(BlockId(15));
  ExpectBroken(1);
}

TEST_F(InvariantsTest, ABlockThatIsInNoTable) {
  const auto blocks = First(1).blocks;
  First(1).blocks.pop_back();
  ExpectBroken(1);
  First(1).blocks = blocks;
  EXPECT_TRUE(CheckInvariants(scheduler_).ok());
}

TEST_F(InvariantsTest, AWaitingSequenceThatHoldsSomething) {
  First(3).pins.push_back({0, FeatureId(1)});
  ExpectBroken(3);
  First(3).pins.clear();
  First(3).in_step = true;
  ExpectBroken(3);
  First(3).in_step = false;
  First(3).blocks.push_back(BlockId(1));
  ExpectBroken(3);
}

TEST_F(InvariantsTest, MoreComputedThanThereAreTokensOrBlocks) {
  First(1).computed = 18;
  ExpectBroken(3);
  First(1).computed = 17;
  EXPECT_TRUE(CheckInvariants(scheduler_).ok());
  First(1).tokens.resize(60);
  First(1).computed = 33;
  ExpectBroken(3);
}

TEST_F(InvariantsTest, ARequestThatMiscountsItsChoices) {
  State(1).unfinished = 2;
  ExpectBroken(4);
  State(1).unfinished = 1;
  State(1).pending = 1;
  ExpectBroken(4);
}

TEST_F(InvariantsTest, ASequenceInNoList) {
  First(3).state = SequenceState::kRunning;
  First(3).blocks = {};
  const absl::Status status = CheckInvariants(scheduler_);
  EXPECT_FALSE(status.ok());
}

TEST_F(InvariantsTest, RunningOnesOutOfOrder) {
  First(1).rank_class = 2;
  ExpectBroken(5);
}

TEST_F(InvariantsTest, APinThatTheCacheDoesNotKnow) {
  First(1).pins.push_back({0, FeatureId(99)});
  ExpectBroken(6);
}

TEST_F(InvariantsTest, AStepThatIsTooLarge) {
  out_->plan.total_tokens = 41;
  ExpectBroken(7);
}

TEST_F(InvariantsTest, TooManyImagesInAStep) {
  out_->plan.encodes.resize(2);
  out_->plan.encodes[0].feature = FeatureId(7);
  out_->plan.encodes[1].feature = FeatureId(8);
  ExpectBroken(7);
  out_->plan.encodes[1].feature = FeatureId(7);  // two slices of one image
  const absl::Status status = CheckInvariants(scheduler_);
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(InvariantsTest, ChunksWithAGapOrNothingInThem) {
  out_->plan.chunks[1].first_token += 1;
  ExpectBroken(7);
  out_->plan.chunks[1].first_token -= 1;
  out_->plan.chunks[1].token_ids = {};
  ExpectBroken(7);
}

TEST_F(InvariantsTest, TokensThatDoNotAddUp) {
  out_->plan.total_tokens -= 1;
  ExpectBroken(7);
}

TEST_F(InvariantsTest, TwoChunksThatWriteOneBlock) {
  out_->plan.chunks[1].blocks = out_->plan.chunks[0].blocks;
  ExpectBroken(8);
}

TEST_F(InvariantsTest, APausedRequestInAStep) {
  State(1).paused = true;
  ExpectBroken(9);
}

// Two sequences that share are made in one domain; then one of them is said to be of another.
void ExpectShared(SchedulerHarness& h, RequestId one, RequestId other) {
  ASSERT_TRUE(h.scheduler.requests().contains(one) && h.scheduler.requests().contains(other));
  h.scheduler.requests().at(other)->spec->cache_domain = Sha256Of("bob");
  const absl::Status status = CheckInvariants(h.scheduler);
  EXPECT_THAT(std::string(status.message()), StartsWith("invariant 16:"));
  h.scheduler.requests().at(other)->spec->cache_domain = {};
}

TEST(SharingInvariantTest, ABlockOfTwoCacheDomains) {
  SchedulerHarness h;
  const RequestId one = h.Arrives(h.MakeRequest(40, 50));
  h.Tick();
  h.Tick();
  const RequestId other = h.Arrives(h.MakeRequest(40, 50));
  h.Tick();
  ExpectShared(h, one, other);
}

TEST(SharingInvariantTest, AFeatureOfTwoCacheDomains) {
  SchedulerHarness h;
  Request first = h.MakeRequest(100, 5), second = h.MakeRequest(100, 5, 1000);
  h.AddImage(first, "cat", 4, 80);
  h.AddImage(second, "cat", 4, 80);
  const RequestId one = h.Arrives(std::move(first)), other = h.Arrives(std::move(second));
  h.Tick();
  h.Tick();
  ExpectShared(h, one, other);
}

TEST_F(InvariantsTest, SomebodyCouldRunAndNothingDoes) {
  for (std::uint64_t id = 1; id <= 3; ++id) First(id).in_step = false;
  out_->plan.Clear();
  ExpectBroken(10);
  for (std::uint64_t id = 1; id <= 3; ++id) State(id).paused = true;
  EXPECT_TRUE(CheckInvariants(scheduler_).ok());
}

}  // namespace
}  // namespace llava::scheduling
