#include "server/scheduling/drafts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "tests/unit/server/scheduling/scheduler_harness.h"

namespace llava::scheduling {
namespace {

std::pair<int, int> LookUp(const std::vector<std::int32_t>& tokens, int most) {
  const Draft draft = DraftIndex().LookUp(tokens, most);
  return {draft.first, draft.count};
}

constexpr std::pair<int, int> kNone = {0, 0};

// The same by a walk over all tokens.
std::pair<int, int> Walk(const std::vector<std::int32_t>& tokens, int most) {
  const int end = static_cast<int>(tokens.size()) - 1;
  std::pair<int, int> found = kNone;
  int most_alike = 1;
  for (int place = end - 1; place >= 1; --place) {
    int alike = 0;
    while (alike < 8 && alike <= place && tokens[place - alike] == tokens[end - alike]) ++alike;
    if (alike <= most_alike) continue;
    most_alike = alike;
    found = {place + 1, std::min(most, end - place)};
  }
  return found;
}

TEST(DraftIndex, GivesWhatFollowedTheSameTwoTokens) {
  EXPECT_EQ(LookUp({1, 2, 3, 4, 1, 2}, 8), std::pair(2, 4));
  EXPECT_EQ(LookUp({1, 2, 3, 4, 1, 2}, 1), std::pair(2, 1));
  EXPECT_EQ(LookUp({7, 7, 7}, 8), std::pair(2, 1));
}

TEST(DraftIndex, PrefersThePlaceThatIsAlikeForLonger) {
  EXPECT_EQ(LookUp({5, 1, 2, 30, 6, 1, 2, 40, 5, 1, 2}, 1), std::pair(3, 1));
}

TEST(DraftIndex, OfEqualPlacesTheLatest) {
  EXPECT_EQ(LookUp({1, 2, 30, 1, 2, 40, 1, 2}, 1), std::pair(5, 1));
}

TEST(DraftIndex, OneTokenAloneIsNoSign) {
  EXPECT_EQ(LookUp({2, 3, 1, 2}, 8), kNone);
  EXPECT_EQ(LookUp({2, 2}, 8), kNone);
  EXPECT_EQ(LookUp({2}, 8), kNone);
  EXPECT_EQ(LookUp({1, 2, 3, 4}, 8), kNone);
}

TEST(DraftIndex, GivesWhatAWalkOverAllTokensGives) {
  Rng rng(7);
  for (const std::uint64_t letters : {2, 4, 30, 1000}) {
    DraftIndex index;
    std::vector<std::int32_t> tokens;
    while (tokens.size() < 300) {
      for (std::uint64_t i = rng.Below(5); i > 0; --i) {  // some at once, as drafts come true
        tokens.push_back(static_cast<std::int32_t>(rng.Below(letters)) - 1);
      }
      const Draft draft = index.LookUp(tokens, 8);
      ASSERT_EQ(std::pair(draft.first, draft.count), Walk(tokens, 8)) << tokens.size();
    }
  }
}

TEST(DraftIndex, ForgetsWhatAFailedStepHadAtItsEnd) {
  DraftIndex index;
  const std::vector<std::int32_t> tokens = {1, 2, 3, 1, 2};
  EXPECT_EQ(index.LookUp(tokens, 8).first, 2);
  EXPECT_EQ(index.LookUp(tokens, 8).first, 2);
  const std::vector<std::int32_t> others = {1, 2, 3, 1, 4, 2, 3};
  EXPECT_EQ(index.LookUp(others, 8).first, 3);
}

// The only difference to the walk: the place that is alike for longest lies behind many others.
TEST(DraftIndex, LooksAtSoManyPlacesAndNoFurther) {
  for (const int others : {DraftIndex::kMostPlaces - 1, DraftIndex::kMostPlaces}) {
    std::vector<std::int32_t> tokens = {9, 1, 2, 50};
    for (int i = 0; i < others; ++i) tokens.insert(tokens.end(), {1000 + i, 1, 2});
    tokens.insert(tokens.end(), {9, 1, 2});
    const int latest = static_cast<int>(tokens.size()) - 3;
    EXPECT_EQ(Walk(tokens, 1).first, 3);
    EXPECT_EQ(LookUp(tokens, 1).first, others < DraftIndex::kMostPlaces ? 3 : latest);
  }
}

TEST(WorthwhileDrafts, AsManyAsAreLikelierThanTheyCost) {
  EXPECT_EQ(WorthwhileDrafts(0.5, 0.1, 8), 3);  // 0.5, 0.25, 0.125
  EXPECT_EQ(WorthwhileDrafts(0.5, 0.5, 8), 0);
  EXPECT_EQ(WorthwhileDrafts(1, 0.5, 8), 8);
  EXPECT_EQ(WorthwhileDrafts(0, 0, 8), 0);
  EXPECT_EQ(WorthwhileDrafts(0.9, 0.1, 0), 0);
}

SchedulerOptions WithDrafts(int most) {
  SchedulerOptions options = SmallOptions();
  options.draft_tokens = most;
  return options;
}

// An answer of one token again and again, in so many ticks.
int TicksOfAnAnswer(SchedulerHarness& h, int tokens) {
  const RequestId id = h.Arrives(h.MakeRequest(4, tokens));
  int ticks = 0;
  while (!h.ended.contains(id) && ticks < 1000) {
    h.Tick();
    ++ticks;
  }
  EXPECT_TRUE(h.ended[id].ok()) << h.ended[id];
  EXPECT_EQ(h.got[id], tokens);
  EXPECT_EQ(h.usage[id].generated_tokens, tokens);
  return ticks;
}

TEST(Drafts, ThatComeTrueSaveSteps) {
  SchedulerHarness without, with(WithDrafts(8));
  const int ticks = TicksOfAnAnswer(without, 60);
  EXPECT_LT(TicksOfAnAnswer(with, 60), ticks * 2 / 3);
  const PlannerCounters& counters = with.scheduler.planner().counters();
  EXPECT_GT(counters.true_drafts, 20u);
  EXPECT_GE(counters.drafted_tokens, counters.true_drafts);
  EXPECT_EQ(without.scheduler.planner().counters().drafted_tokens, 0u);
}

TEST(Drafts, ThatAreFalseChangeNothing) {
  SchedulerHarness h(WithDrafts(8));
  const RequestId id = h.Arrives(h.MakeRequest(4, 200));
  // The same two tokens are followed by another one each time.
  for (int i = 0; !h.ended.contains(id) && i < 1000; ++i) {
    const int place = h.got[id] % 3;
    h.Tick(place < 2 ? 500 + place : 1000 + h.got[id]);
  }
  EXPECT_TRUE(h.ended[id].ok()) << h.ended[id];
  EXPECT_EQ(h.got[id], 200);
  EXPECT_GT(h.marks.count(Mark::kDraftFalse), 0u);
}

TEST(Drafts, EndWithTheAnswer) {
  SchedulerHarness h(WithDrafts(8));
  for (const int tokens : {1, 2, 3, 4, 5, 17, 33}) TicksOfAnAnswer(h, tokens);
}

TEST(Drafts, HoldNobodyUp) {
  SchedulerHarness h(WithDrafts(15));
  const RequestId reader = h.Arrives(h.MakeRequest(4, 400));
  while (h.marks.count(Mark::kDraftTrue) < 5) h.Tick();
  // A prompt of several steps: meanwhile the reader has single tokens.
  const RequestId later = h.Arrives(h.MakeRequest(300, 4, 700));
  h.Tick();
  int steps = 0;
  for (; h.got[later] == 0; ++steps) {
    EXPECT_EQ(h.Scheduled(reader), 1);
    h.Tick();
  }
  EXPECT_GT(steps, 2);
  h.Finish();
  EXPECT_EQ(h.got[reader], 400);
}

TEST(Drafts, AreDroppedWithAFailedStep) {
  SchedulerHarness h(WithDrafts(8));
  const RequestId id = h.Arrives(h.MakeRequest(4, 100));
  while (h.Scheduled(id) < 4 && h.got[id] < 90) h.Tick();
  ASSERT_GE(h.Scheduled(id), 4);
  const int before = h.got[id];
  h.FailTick(absl::ResourceExhaustedError("no memory"));
  EXPECT_EQ(h.got[id], before);
  h.Finish();
  EXPECT_EQ(h.got[id], 100);
}

}  // namespace
}  // namespace llava::scheduling
