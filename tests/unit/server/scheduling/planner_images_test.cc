// What a step holds that may take only so long: slices of pictures, and chunks cut by time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "tests/unit/server/scheduling/scheduler_harness.h"

namespace llava::scheduling {
namespace {

using std::chrono::milliseconds;
using ::testing::IsEmpty;

constexpr int kParts = 10;

SchedulerOptions Timed() {
  SchedulerOptions options = SmallOptions();
  options.max_batch_tokens = 512;
  options.num_blocks = 256;
  options.max_step_time = milliseconds(100);
  options.encoder_parts = kParts;
  options.max_images_per_step = 1;
  return options;
}

// A device that takes 10 ms for a step, 1 ms for a row and 4 ms for a part of the vision tower.
class PlannerImagesTest : public ::testing::Test {
 protected:
  explicit PlannerImagesTest(const SchedulerOptions& options = Timed()) : harness_(options) {}

  const StepPlan& Tick() {
    harness_.encode_time = EncodeTime();
    harness_.forward_time = ForwardTime();
    return harness_.Tick().plan;
  }
  Duration EncodeTime() const {
    std::int64_t parts = 0;
    for (const EncodeImage& encode : plan().encodes) parts += encode.slice.work();
    return milliseconds(4 * parts);
  }
  Duration ForwardTime() const { return milliseconds(10 + plan().total_tokens); }
  Duration StepTime() const { return EncodeTime() + ForwardTime(); }
  const StepPlan& plan() const { return harness_.scheduler.output().plan; }
  const FeatureCache& features() const { return harness_.scheduler.planner().features(); }

  // A reader, after some prompts from which the device's costs are known.
  RequestId Reader() {
    for (const int tokens : {200, 40, 90}) {
      harness_.Arrives(harness_.MakeRequest(tokens, 1, 10'000 * tokens));
      for (int i = 0; i < 3; ++i) Tick();
    }
    Request picture = harness_.MakeRequest(40, 1, 555'000);
    SchedulerHarness::AddImage(picture, "known", 4, 20);
    harness_.Arrives(std::move(picture));
    for (int i = 0; i < 3; ++i) Tick();
    const RequestId id = harness_.Arrives(harness_.MakeRequest(20, 1000, 777'000));
    Tick();
    Tick();
    return id;
  }

  Request WithPicture(const char* name, int tiles, int base) {
    Request request = harness_.MakeRequest(60, 3, base);
    SchedulerHarness::AddImage(request, name, 10, 40);
    request.images[0].tiles = tiles;
    return request;
  }

  SchedulerHarness harness_;
};

TEST_F(PlannerImagesTest, ALoneRequestIsComputedInTheLargestSteps) {
  const RequestId id = harness_.Arrives(harness_.MakeRequest(700, 2));
  Tick();
  EXPECT_EQ(harness_.Scheduled(id), 512);
  Tick();
  EXPECT_EQ(harness_.Scheduled(id), 188);
}

TEST_F(PlannerImagesTest, ALonePictureIsEncodedInOneGo) {
  harness_.Arrives(WithPicture("many tiles", 20, 0));
  Tick();
  ASSERT_EQ(plan().encodes.size(), 1u);
  EXPECT_EQ(plan().encodes[0].slice.tiles, 20);
  EXPECT_TRUE(plan().encodes[0].is_first() && plan().encodes[0].is_last());
  EXPECT_EQ(plan().total_tokens, 60);
}

TEST_F(PlannerImagesTest, ThoseWhoJoinALonePromptDoNotDelayItsFirstToken) {
  Reader();
  harness_.events.emplace_back(Cancel{RequestId(5)});
  const RequestId first = harness_.Arrives(harness_.MakeRequest(50, 1));
  const RequestId second = harness_.Arrives(harness_.MakeRequest(300, 1, 5000));
  Tick();
  EXPECT_EQ(harness_.Scheduled(first), 50);
  EXPECT_NEAR(harness_.Scheduled(second), 40, 2);
}

TEST_F(PlannerImagesTest, ALongPromptBesideAReaderIsCutByTime) {
  const RequestId reader = Reader();
  const RequestId prompt = harness_.Arrives(harness_.MakeRequest(300, 2));
  Tick();
  for (int left = 300; left > 0;) {
    EXPECT_EQ(harness_.Scheduled(reader), 1);
    EXPECT_LE(StepTime(), milliseconds(101));
    const int tokens = harness_.Scheduled(prompt);
    if (left > tokens) {
      EXPECT_GE(StepTime(), milliseconds(95));
    }
    left -= tokens;
    Tick();
  }
  EXPECT_GT(harness_.marks.count(Mark::kChunkCutByTime), 0u);
}

TEST_F(PlannerImagesTest, APictureBesideAReaderIsCutBetweenTilesAndLayers) {
  const RequestId reader = Reader();
  const RequestId picture = harness_.Arrives(WithPicture("picture", 5, 0));
  std::vector<EncodeSlice> slices;
  Tick();
  while (harness_.got[picture] == 0) {
    EXPECT_EQ(harness_.Scheduled(reader), 1);
    EXPECT_LE(StepTime(), milliseconds(104));
    for (const EncodeImage& encode : plan().encodes) slices.push_back(encode.slice);
    Tick();
  }
  // 50 parts in order, of which a step has 22 or less.
  int done = 0;
  for (const EncodeSlice& slice : slices) {
    EXPECT_EQ(slice.first_tile * kParts + slice.first_part, done);
    EXPECT_EQ(slice.of, kParts);
    done += static_cast<int>(slice.work());
  }
  EXPECT_EQ(done, 5 * kParts);
  EXPECT_GE(slices.size(), 4u);
  EXPECT_GT(harness_.marks.count(Mark::kImageCutInsideTile), 0u);
  EXPECT_GT(harness_.marks.count(Mark::kImageCutBetweenTiles), 0u);
  EXPECT_GT(harness_.marks.count(Mark::kOnlyEncoded), 0u);
  harness_.events.emplace_back(Cancel{reader});
  for (int i = 0; i < 5; ++i) Tick();
  EXPECT_EQ(harness_.usage[picture].images_encoded, 1);
  EXPECT_EQ(harness_.usage[picture].encode, milliseconds(4 * 5 * kParts)) << "all its slices";
}

TEST_F(PlannerImagesTest, ACancelDropsWhatIsHalfEncoded) {
  Reader();
  const RequestId picture = harness_.Arrives(WithPicture("picture", 5, 0));
  Tick();
  Tick();
  ASSERT_EQ(features().unfinished(), 1u);
  const FeatureId feature = plan().encodes[0].feature;
  EXPECT_EQ(harness_.scheduler.stats().unfinished_images, 1);
  harness_.events.emplace_back(Cancel{picture});
  Tick();
  EXPECT_EQ(features().unfinished(), 0u);
  EXPECT_THAT(plan().drop_features, ::testing::ElementsAre(feature));
  EXPECT_THAT(plan().encodes, IsEmpty());
}

TEST_F(PlannerImagesTest, AFailureDropsWhatIsHalfEncoded) {
  const RequestId reader = Reader();
  const RequestId picture = harness_.Arrives(WithPicture("picture", 5, 0));
  Tick();
  Tick();
  ASSERT_FALSE(plan().encodes.empty());
  const FeatureId feature = plan().encodes[0].feature;
  EXPECT_THAT(harness_.FailTick(absl::InternalError("broken")).plan.drop_features,
              ::testing::ElementsAre(feature));
  EXPECT_EQ(harness_.ended[picture].code(), absl::StatusCode::kInternal);
  EXPECT_EQ(harness_.ended[reader].code(), absl::StatusCode::kInternal);
  EXPECT_EQ(features().unfinished(), 0u);
}

TEST_F(PlannerImagesTest, AReaderThatBecomesSlowLetsGoOfItsPicture) {
  Reader();
  const RequestId picture = harness_.Arrives(WithPicture("picture", 5, 0));
  Tick();
  Tick();
  harness_.events.emplace_back(Pause{picture});
  Tick();
  EXPECT_EQ(features().unfinished(), 0u);
  harness_.events.emplace_back(Resume{picture});
  Tick();
  ASSERT_FALSE(plan().encodes.empty());
  EXPECT_TRUE(plan().encodes[0].is_first());
}

// The picture of a worse one is neither waited for nor lost.
TEST_F(PlannerImagesTest, ABetterClassEncodesBesideAHalfEncodedPicture) {
  Reader();
  const RequestId low = harness_.Arrives(WithPicture("low", 9, 0));
  Tick();
  Tick();
  const FeatureId of_low = plan().encodes[0].feature;
  Request urgent = WithPicture("high", 9, 2000);
  urgent.priority = Priority::kHigh;
  const RequestId high = harness_.Arrives(std::move(urgent));
  const RequestId other = harness_.Arrives(WithPicture("other", 9, 4000));
  Tick();
  ASSERT_FALSE(plan().encodes.empty());
  EXPECT_NE(plan().encodes[0].feature, of_low);
  EXPECT_EQ(features().unfinished(), 2u);
  while (harness_.got[high] == 0) Tick();
  EXPECT_EQ(harness_.got[low], 0);
  while (harness_.got[low] == 0) Tick();
  EXPECT_EQ(harness_.got[other], 0);
  for (int i = 0; i < 100; ++i) Tick();
  EXPECT_EQ(harness_.usage[low].images_encoded, 1);
  EXPECT_TRUE(harness_.ended[other].ok());
}

TEST_F(PlannerImagesTest, TwoThatAskAboutOnePictureEncodeItOnce) {
  Reader();
  const RequestId first = harness_.Arrives(WithPicture("same", 5, 0));
  const RequestId second = harness_.Arrives(WithPicture("same", 5, 2000));
  for (int i = 0; i < 100; ++i) Tick();
  EXPECT_EQ(harness_.usage[first].images_encoded, 1);
  EXPECT_EQ(harness_.usage[second].images_encoded, 0);
  EXPECT_TRUE(harness_.ended[second].ok());
}

TEST_F(PlannerImagesTest, APictureForWhichThereIsNoMemoryEndsItsRequest) {
  const RequestId picture = harness_.Arrives(WithPicture("picture", 5, 0));
  Tick();
  for (int i = 0; i < 20 && !harness_.ended.contains(picture); ++i) {
    harness_.FailTick(absl::ResourceExhaustedError("full"));
  }
  EXPECT_EQ(harness_.ended[picture].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(features().unfinished(), 0u);
}

}  // namespace
}  // namespace llava::scheduling
