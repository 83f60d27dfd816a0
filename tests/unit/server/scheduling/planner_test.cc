#include "server/scheduling/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace llava::scheduling {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

SchedulerOptions Options() {
  SchedulerOptions options;
  options.num_blocks = 64;
  options.max_batch_tokens = 64;
  options.max_running = 4;
  options.max_images_per_step = 2;
  options.feature_bytes_per_token = 1;
  options.feature_cache_bytes = 100;
  return options;
}

class PlannerTest : public ::testing::Test {
 protected:
  explicit PlannerTest(const SchedulerOptions& options = Options())
      : options_(options), planner_(options_, &marks_) {}

  struct Ask {
    int prompt = 0;
    int n = 1;
    Priority priority = Priority::kNormal;
    int version = 0;
    int max_outputs = 50;
    std::vector<std::pair<int, int>> images = {};  // offset and count
  };

  // Prompts begin differently, unless `base` says otherwise.
  RequestState& Arrive(const Ask& ask, int base = -1) {
    auto request = std::make_unique<Request>();
    request->id = RequestId(states_.size() + 1);
    request->priority = ask.priority;
    request->arrival = now_;
    request->n = ask.n;
    if (base < 0) base = 1000 * static_cast<int>(states_.size() + 1);
    for (int i = 0; i < ask.prompt; ++i) request->prompt_ids.push_back(base + i);
    for (const auto& [offset, count] : ask.images) {
      ImageInput image;
      image.digest = Sha256Of(std::to_string(count));
      image.offset = offset;
      image.count = count;
      request->images.push_back(std::move(image));
    }
    states_.push_back(MakeRequestState(std::move(request), &last_sequence_));
    RequestState& state = *states_.back();
    state.max_outputs = ask.max_outputs;
    state.version = ask.version;
    state.urgency = now_ + seconds(60);
    state.tenant = share_.Enter("tenant");
    planner_.Enqueue(state.choices[0].get());
    return state;
  }

  void Plan(int tokens = 64, int images = 1, int version = 0) {
    plan_.Clear();
    chunks_.clear();
    planner_.Plan(now_, version, {tokens, images}, &plan_, &chunks_);
  }

  // The step was run: each sample gave a token.
  void Commit() {
    for (const PlannedChunk& chunk : chunks_) {
      planner_.Commit(*chunk.sequence, chunk.tokens);
      RequestState& request = *chunk.sequence->request;
      if (chunk.samples > 1) planner_.Fork(request);
      for (int i = 0; i < chunk.samples; ++i) {
        Sequence& choice = i == 0 ? *chunk.sequence : *request.choices[static_cast<std::size_t>(i)];
        choice.tokens.push_back(7);
      }
    }
  }

  void Step(int tokens = 64, int images = 1) {
    Plan(tokens, images);
    Commit();
  }

  // Tokens of the step by request id.
  std::vector<std::pair<std::uint64_t, int>> Planned() const {
    std::vector<std::pair<std::uint64_t, int>> planned;
    for (const PlannedChunk& chunk : chunks_) {
      planned.emplace_back(chunk.sequence->request->id.value(), chunk.tokens);
    }
    return planned;
  }

  static Sequence& First(RequestState& state) { return *state.choices[0]; }
  int used() const { return planner_.kv().pool().used(); }

  const SchedulerOptions options_;
  Marks marks_;
  FairShare share_;
  Planner planner_;
  std::vector<std::unique_ptr<RequestState>> states_;
  std::uint64_t last_sequence_ = 0;
  TimePoint now_{seconds(10)};
  StepPlan plan_;
  std::vector<PlannedChunk> chunks_;
};

using Steps = std::vector<std::pair<std::uint64_t, int>>;

TEST_F(PlannerTest, APromptIsCutAtTheBudgetAndOnlyItsEndIsSampled) {
  RequestState& request = Arrive({.prompt = 25});
  for (const int tokens : {10, 10, 5}) {
    Plan(10);
    EXPECT_EQ(Planned(), (Steps{{1, tokens}}));
    EXPECT_EQ(plan_.total_tokens, tokens);
    EXPECT_EQ(plan_.chunks[0].start, First(request).computed);
    EXPECT_EQ(plan_.samples.size(), tokens == 5 ? 1u : 0u);
    EXPECT_EQ(chunks_[0].samples, tokens == 5 ? 1 : 0);
    EXPECT_FALSE(chunks_[0].decode);
    Commit();
  }
  EXPECT_EQ(First(request).outputs(), 1);
}

TEST_F(PlannerTest, DecodesGoFirstAndPromptsGetTheRest) {
  Arrive({.prompt = 5});
  Step();
  Arrive({.prompt = 40});
  Plan(20);
  EXPECT_EQ(Planned(), (Steps{{1, 1}, {2, 19}}));
  EXPECT_TRUE(chunks_[0].decode);
  EXPECT_FALSE(chunks_[1].decode);
  EXPECT_EQ(plan_.total_tokens, 20);
  EXPECT_EQ(plan_.chunks[1].first_token, 1);
  ASSERT_EQ(plan_.samples.size(), 1u);
  EXPECT_EQ(plan_.samples[0].row, 0);
  EXPECT_THAT(plan_.samples[0].output_ids, ElementsAre(7));
  EXPECT_EQ(plan_.samples[0].prompt_ids.size(), 5u);
}

TEST_F(PlannerTest, ABudgetSmallerThanTheDecodesLeavesTheLastOnesOut) {
  for (int i = 0; i < 3; ++i) Arrive({.prompt = 5});
  Step();
  Plan(2);
  EXPECT_EQ(Planned(), (Steps{{1, 1}, {2, 1}}));
}

TEST_F(PlannerTest, StartsStopWhenTheSeatsAreTaken) {
  for (int i = 0; i < 6; ++i) Arrive({.prompt = 4});
  Plan();
  EXPECT_EQ(Planned(), (Steps{{1, 4}, {2, 4}, {3, 4}, {4, 4}}));
  EXPECT_EQ(planner_.seats(), 4);
  EXPECT_EQ(planner_.waiting().sequences().size(), 2u);
  EXPECT_EQ(marks_.count(Mark::kHeadBlocked), 1u);
}

TEST_F(PlannerTest, ChoicesTakeTheirSeatsFromTheStart) {
  Arrive({.prompt = 4, .n = 3});
  Arrive({.prompt = 4, .n = 2});
  Arrive({.prompt = 4});
  Plan();
  EXPECT_EQ(Planned(), (Steps{{1, 4}})) << "nobody passes the one that does not fit";
  EXPECT_EQ(planner_.seats(), 3);
  EXPECT_EQ(chunks_[0].samples, 3);
  ASSERT_EQ(plan_.samples.size(), 3u);
  for (const Sample& sample : plan_.samples) EXPECT_EQ(sample.row, 3);
  EXPECT_NE(plan_.samples[0].seed, plan_.samples[1].seed);
  Commit();
  EXPECT_EQ(planner_.seats(), 3);
  EXPECT_EQ(planner_.running().size(), 3u);
  Plan();
  EXPECT_EQ(Planned(), (Steps{{1, 1}, {1, 1}, {1, 1}}));
}

TEST_F(PlannerTest, AFinishedChoiceGivesItsSeatAndItsBlocks) {
  RequestState& request = Arrive({.prompt = 4, .n = 2});
  Step();
  EXPECT_EQ(planner_.seats(), 2);
  planner_.Finish(*request.choices[1]);
  EXPECT_EQ(planner_.seats(), 1);
  EXPECT_EQ(request.choices[1]->state, SequenceState::kFinished);
  planner_.Finish(*request.choices[0]);
  EXPECT_EQ(planner_.seats(), 0);
  EXPECT_EQ(used(), 0);
  EXPECT_THAT(planner_.running(), IsEmpty());
}

TEST_F(PlannerTest, AWaitingOneThatFinishesIsNoLongerInTheQueue) {
  RequestState& request = Arrive({.prompt = 4});
  planner_.Finish(First(request));
  EXPECT_THAT(planner_.waiting().sequences(), IsEmpty());
  Plan();
  EXPECT_THAT(chunks_, IsEmpty());
}

TEST_F(PlannerTest, PausedOnesAndOtherVersionsArePassedOver) {
  RequestState& paused = Arrive({.prompt = 5});
  Arrive({.prompt = 5, .version = 1});
  Arrive({.prompt = 5});
  Step();
  paused.paused = true;
  Plan();
  EXPECT_EQ(Planned(), (Steps{{3, 1}}));
  Plan(64, 1, /*version=*/1);
  EXPECT_EQ(Planned(), (Steps{{2, 5}}));
}

TEST_F(PlannerTest, TheQueueTimeAndTheTokensOfAStartAreCounted) {
  RequestState& request = Arrive({.prompt = 40});
  now_ += seconds(3);
  Plan(16);
  EXPECT_EQ(request.usage.queue, seconds(3));
  EXPECT_EQ(request.first_step, now_);
  EXPECT_EQ(planner_.counters().prompt_tokens, 40u);
  EXPECT_EQ(planner_.counters().cached_prompt_tokens, 0u);
}

TEST_F(PlannerTest, ASecondOneWithTheSameBeginningPaysForTheRest) {
  RequestState& first = Arrive({.prompt = 40}, 0);
  Step();
  EXPECT_EQ(first.tenant->counter, 40);
  RequestState& second = Arrive({.prompt = 40}, 0);
  Plan();
  EXPECT_EQ(Planned(), (Steps{{1, 1}, {2, 8}}));
  EXPECT_EQ(second.usage.cached_tokens, 32);
  EXPECT_EQ(second.tenant->counter, 40 + 8);
  EXPECT_EQ(planner_.counters().prompt_tokens, 80u);
  EXPECT_EQ(planner_.counters().cached_prompt_tokens, 32u);
}

TEST_F(PlannerTest, ImageTokensWeighTwice) {
  RequestState& request = Arrive({.prompt = 30, .images = {{4, 10}}});
  Plan();
  EXPECT_EQ(request.tenant->counter, 20 + 2 * 10);
}

TEST_F(PlannerTest, AChunkEndsBeforeAnImageThatTheEncoderHasNoTimeFor) {
  RequestState& request = Arrive({.prompt = 60, .images = {{10, 12}, {30, 14}}});
  Plan();
  EXPECT_EQ(Planned(), (Steps{{1, 30}}));
  ASSERT_EQ(plan_.encodes.size(), 1u);
  EXPECT_EQ(plan_.encodes[0].image->count, 12);
  ASSERT_EQ(plan_.image_rows.size(), 1u);
  EXPECT_EQ(plan_.image_rows[0].first_row, 10);
  EXPECT_EQ(plan_.image_rows[0].feature_row, 0);
  EXPECT_EQ(plan_.image_rows[0].count, 12);
  EXPECT_EQ(marks_.count(Mark::kChunkCutAtImage), 1u);
  Commit();
  EXPECT_THAT(First(request).pins, IsEmpty()) << "it has used the first image";
  Plan();
  EXPECT_EQ(Planned(), (Steps{{1, 30}}));
  EXPECT_EQ(plan_.encodes.size(), 1u);
  EXPECT_EQ(request.usage.images_encoded, 2);
}

TEST_F(PlannerTest, TilesCountAndAnImageOfTooManyGoesAlone) {
  Arrive({.prompt = 20, .images = {{2, 4}}}).spec->images[0].tiles = 9;
  Arrive({.prompt = 20, .images = {{2, 5}}});
  Plan(64, 2);
  EXPECT_EQ(plan_.encodes.size(), 1u);
  Commit();
  Plan(64, 2);
  EXPECT_EQ(plan_.encodes.size(), 1u);  // the other one
}

TEST_F(PlannerTest, AnImageRightAtTheBeginningHoldsUpTheWholePrompt) {
  Arrive({.prompt = 30, .images = {{0, 10}}});
  Arrive({.prompt = 5});
  Plan(64, /*images=*/0);
  EXPECT_THAT(chunks_, IsEmpty());
}

TEST_F(PlannerTest, AChunkMayEndInsideAnImage) {
  RequestState& request = Arrive({.prompt = 30, .images = {{4, 20}}});
  Plan(10);
  ASSERT_EQ(plan_.image_rows.size(), 1u);
  EXPECT_EQ(plan_.image_rows[0].count, 6);
  EXPECT_EQ(marks_.count(Mark::kChunkEndsInsideImage), 1u);
  Commit();
  EXPECT_EQ(First(request).pins.size(), 1u);
  Plan(10);
  EXPECT_THAT(plan_.encodes, IsEmpty());
  ASSERT_EQ(plan_.image_rows.size(), 1u);
  EXPECT_EQ(plan_.image_rows[0].first_row, 0);
  EXPECT_EQ(plan_.image_rows[0].feature_row, 6);
  EXPECT_EQ(plan_.image_rows[0].count, 10);
}

TEST_F(PlannerTest, AnEncodedImageIsNotEncodedAgain) {
  Arrive({.prompt = 30, .images = {{4, 20}}});
  Arrive({.prompt = 30, .images = {{4, 20}}});
  Plan(64, 2);
  EXPECT_EQ(Planned(), (Steps{{1, 30}, {2, 30}}));
  EXPECT_EQ(plan_.encodes.size(), 1u);
  EXPECT_EQ(planner_.counters().images_needed, 2u);
  EXPECT_EQ(planner_.counters().images_encoded, 1u);
  EXPECT_EQ(marks_.count(Mark::kFeatureHit), 1u);
}

TEST_F(PlannerTest, BehindTheEndOfAPromptNothingIsEncoded) {
  Arrive({.prompt = 20, .images = {{4, 10}}});
  Arrive({.prompt = 20, .images = {{4, 11}}});
  Plan(64, 2);
  EXPECT_EQ(Planned(), (Steps{{1, 20}, {2, 4}}));
  EXPECT_EQ(plan_.encodes.size(), 1u);
}

TEST_F(PlannerTest, PinnedImagesLeaveNoRoomForMore) {
  Arrive({.prompt = 80, .images = {{4, 70}}});
  Arrive({.prompt = 80, .images = {{4, 71}}});
  Step(40, 2);
  EXPECT_EQ(planner_.features().bytes(), 70);
  Plan(64, 2);
  EXPECT_EQ(Planned(), (Steps{{1, 40}, {2, 4}}));
  EXPECT_EQ(marks_.count(Mark::kFeatureFull), 0u) << "the end of the first came before";
  Commit();
  Plan(64, 2);  // now it is nobody's, and goes
  EXPECT_EQ(plan_.encodes.size(), 1u);
  EXPECT_EQ(planner_.features().bytes(), 71);
  EXPECT_EQ(marks_.count(Mark::kFeatureEvicted), 1u);
}

TEST_F(PlannerTest, APauseGivesThePinsBack) {
  RequestState& request = Arrive({.prompt = 80, .images = {{4, 70}}});
  Step(40, 1);
  EXPECT_EQ(First(request).pins.size(), 1u);
  planner_.ReleasePins(First(request));
  EXPECT_THAT(First(request).pins, IsEmpty());
  planner_.features().DropUnpinned();
  EXPECT_EQ(planner_.features().bytes(), 0);
}

TEST_F(PlannerTest, ABetterClassTakesTheSeatOfTheLastOfAWorseOne) {
  for (int i = 0; i < 4; ++i) Arrive({.prompt = 4, .priority = Priority::kLow});
  Step();
  Arrive({.prompt = 4, .priority = Priority::kHigh});
  Plan();
  EXPECT_EQ(planner_.counters().preemptions, 1u);
  EXPECT_EQ(First(*states_[3]).state, SequenceState::kWaiting);
  EXPECT_EQ(First(*states_[4]).state, SequenceState::kRunning);
  EXPECT_EQ(planner_.running().front(), &First(*states_[4]));
  EXPECT_EQ(marks_.count(Mark::kPreemptedForClass), 1u);
}

TEST_F(PlannerTest, NobodyIsPreemptedForItsOwnClass) {
  for (int i = 0; i < 4; ++i) Arrive({.prompt = 4, .priority = Priority::kHigh});
  Step();
  Arrive({.prompt = 4, .priority = Priority::kHigh});
  Plan();
  EXPECT_EQ(planner_.counters().preemptions, 0u);
}

TEST_F(PlannerTest, WhoHasAgedIsNotPreempted) {
  for (int i = 0; i < 4; ++i) Arrive({.prompt = 4, .priority = Priority::kLow});
  Step();
  now_ += 2 * options_.aging;
  Arrive({.prompt = 4, .priority = Priority::kHigh});
  Plan();
  EXPECT_EQ(planner_.counters().preemptions, 0u);
}

TEST_F(PlannerTest, ASlowReadersSeatGoesToWhoWaits) {
  for (int i = 0; i < 4; ++i) Arrive({.prompt = 4});
  Step();
  states_[1]->paused = true;
  Arrive({.prompt = 4});
  Plan();
  EXPECT_EQ(First(*states_[1]).state, SequenceState::kWaiting);
  EXPECT_EQ(Planned(), (Steps{{1, 1}, {3, 1}, {4, 1}, {5, 4}}));
  EXPECT_EQ(states_[1]->usage.preemptions, 1);
  EXPECT_EQ(marks_.count(Mark::kPreemptedPaused), 1u);
}

class FewBlocksTest : public PlannerTest {
 protected:
  static SchedulerOptions FourBlocks() {
    SchedulerOptions options = Options();
    options.num_blocks = 4;
    options.prefix_cache = false;
    return options;
  }
  FewBlocksTest() : PlannerTest(FourBlocks()) {}
};

TEST_F(FewBlocksTest, ThePromptMayTakeAllBlocksOfAnIdleDevice) {
  Arrive({.prompt = 64});
  Plan();
  EXPECT_EQ(Planned(), (Steps{{1, 64}}));
  EXPECT_EQ(used(), 4);
}

TEST_F(FewBlocksTest, AStartLeavesABlockToThoseThatRun) {
  Arrive({.prompt = 32});
  Arrive({.prompt = 32});
  Plan();
  EXPECT_EQ(Planned(), (Steps{{1, 32}}));
  planner_.Finish(First(*states_[1]));
  Arrive({.prompt = 16});
  Plan(64);
  EXPECT_EQ(Planned().back(), (std::pair<std::uint64_t, int>{3, 16}));
}

TEST_F(FewBlocksTest, ADecodeWithoutABlockPreemptsTheLastOne) {
  Arrive({.prompt = 31});
  Arrive({.prompt = 15});
  Step();  // 2 + 1 blocks
  Step();  // both fill their last block
  EXPECT_EQ(used(), 3);
  Plan();  // the first one takes the fourth block, the second one finds none
  EXPECT_EQ(Planned(), (Steps{{1, 1}}));
  EXPECT_EQ(First(*states_[1]).state, SequenceState::kWaiting);
  EXPECT_EQ(First(*states_[1]).computed, 0);
  EXPECT_EQ(First(*states_[1]).outputs(), 2) << "what was answered stays";
  EXPECT_EQ(marks_.count(Mark::kPreemptedItself), 1u);
  EXPECT_EQ(planner_.seats(), 1);
}

TEST_F(FewBlocksTest, ASlowReaderLosesItsBlocksFirst) {
  Arrive({.prompt = 15});
  Arrive({.prompt = 31});
  Step();
  Step();
  states_[0]->paused = true;
  Plan();
  EXPECT_EQ(Planned(), (Steps{{2, 1}}));
  Commit();
  for (int i = 0; i < 16; ++i) Step();
  EXPECT_EQ(First(*states_[0]).state, SequenceState::kWaiting);
  EXPECT_EQ(First(*states_[1]).state, SequenceState::kRunning);
}

TEST_F(FewBlocksTest, TheBestThatDoesNotFitHoldsBackOtherVersions) {
  Arrive({.prompt = 20});
  Step();
  Arrive({.prompt = 60});
  Plan();
  EXPECT_EQ(Planned(), (Steps{{1, 1}}));
  Arrive({.prompt = 4, .version = 1});
  Plan(64, 1, /*version=*/1);
  EXPECT_THAT(chunks_, IsEmpty());
  EXPECT_GT(marks_.count(Mark::kHeadBlockedElsewhere), 0u);
  states_[1]->paused = true;  // nobody waits for a paused one
  Plan(64, 1, /*version=*/1);
  EXPECT_EQ(Planned(), (Steps{{3, 4}}));
}

TEST_F(FewBlocksTest, ABetterOneOfAnotherVersionIsNotHeldBack) {
  Arrive({.prompt = 20});
  Step();
  Arrive({.prompt = 60});
  Plan();
  Arrive({.prompt = 4, .priority = Priority::kHigh, .version = 1});
  Plan(64, 1, /*version=*/1);
  EXPECT_EQ(Planned(), (Steps{{3, 4}}));
}

TEST_F(PlannerTest, APromptThatIsPreemptedBeforeItsEndTakesItsSeatsAlong) {
  RequestState& request = Arrive({.prompt = 40, .n = 3});
  Plan(10);
  EXPECT_EQ(planner_.seats(), 3);
  planner_.Preempt(First(request));
  EXPECT_EQ(planner_.seats(), 0);
  EXPECT_EQ(used(), 0);
  EXPECT_EQ(request.usage.preemptions, 1);
  EXPECT_FALSE(First(request).in_step);
  EXPECT_EQ(marks_.count(Mark::kPreemptedBeforeFork), 1u);
  Plan(64);
  EXPECT_EQ(Planned(), (Steps{{1, 40}}));
  EXPECT_EQ(planner_.counters().prompt_tokens, 40u) << "a second start is none";
}

TEST_F(PlannerTest, TheRunningOnesStandInTheOrderOfClassAndArrival) {
  Arrive({.prompt = 4, .priority = Priority::kLow});
  Arrive({.prompt = 4, .priority = Priority::kHigh});
  Arrive({.prompt = 4, .priority = Priority::kNormal});
  Step();
  Plan();
  EXPECT_EQ(Planned(), (Steps{{2, 1}, {3, 1}, {1, 1}}));
}

}  // namespace
}  // namespace llava::scheduling
