#include "server/scheduling/sequence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace llava::scheduling {
namespace {

using enum SequenceState;

TEST(SequenceStateTest, LegalTransitions) {
  const std::vector<SequenceState> all = {kPending, kWaiting, kRunning, kFinished};
  const std::vector<std::pair<SequenceState, SequenceState>> legal = {
      {kPending, kRunning},  {kPending, kFinished}, {kWaiting, kRunning},
      {kWaiting, kFinished}, {kRunning, kWaiting},  {kRunning, kFinished}};
  for (const SequenceState from : all) {
    for (const SequenceState to : all) {
      const bool expected =
          std::find(legal.begin(), legal.end(), std::pair(from, to)) != legal.end();
      EXPECT_EQ(IsLegalTransition(from, to), expected)
          << static_cast<int>(from) << " to " << static_cast<int>(to);
    }
  }
}

TEST(SequenceStateTest, AnIllegalOneIsABugOfOurs) {
  Sequence sequence;
  sequence.SetState(kRunning);
  sequence.SetState(kFinished);
  EXPECT_DEATH(sequence.SetState(kRunning), "");
}

TEST(SequenceTest, ADecodeIsTheLastTokenOfAnAnswer) {
  Sequence sequence;
  sequence.tokens = {1, 2, 3};
  sequence.prompt_tokens = 3;
  sequence.computed = 2;
  EXPECT_EQ(sequence.remaining(), 1);
  EXPECT_EQ(sequence.outputs(), 0);
  EXPECT_FALSE(sequence.is_decode()) << "the end of a prompt is none";
  sequence.computed = 3;
  sequence.tokens.push_back(4);
  EXPECT_EQ(sequence.outputs(), 1);
  EXPECT_TRUE(sequence.is_decode());
  sequence.computed = 0;  // after a preemption
  EXPECT_EQ(sequence.remaining(), 4);
  EXPECT_FALSE(sequence.is_decode());
}

std::unique_ptr<Request> TwoChoices() {
  auto request = std::make_unique<Request>();
  request->id = RequestId(9);
  request->prompt_ids = {5, 6, 7};
  request->n = 2;
  request->images.resize(2);
  request->images[0].count = 1;
  request->images[1].count = 2;
  return request;
}

TEST(RequestStateTest, OneChoiceWaitsTheOthersArePending) {
  std::uint64_t last = 40;
  const auto state = MakeRequestState(TwoChoices(), &last);
  ASSERT_EQ(state->choices.size(), 2u);
  EXPECT_EQ(last, 42u);
  EXPECT_EQ(state->id, RequestId(9));
  EXPECT_EQ(state->unfinished, 2);
  EXPECT_EQ(state->pending, 1);
  EXPECT_EQ(state->usage.prompt_tokens, 3);
  EXPECT_EQ(state->usage.image_tokens, 3);
  const Sequence& first = *state->choices[0];
  const Sequence& second = *state->choices[1];
  EXPECT_EQ(first.id, SequenceId(41));
  EXPECT_EQ(second.id, SequenceId(42));
  EXPECT_EQ(first.state, kWaiting);
  EXPECT_EQ(second.state, kPending);
  EXPECT_EQ(first.tokens, (std::vector<std::int32_t>{5, 6, 7}));
  EXPECT_TRUE(second.tokens.empty()) << "it shares the prompt once that is computed";
  EXPECT_EQ(second.outputs(), -3);
  EXPECT_EQ(second.choice, 1);
  EXPECT_NE(first.seed, second.seed);
  EXPECT_EQ(second.request, state.get());
}

TEST(RequestStateTest, TheFirstChoiceSitsForThosePending) {
  std::uint64_t last = 0;
  const auto state = MakeRequestState(TwoChoices(), &last);
  EXPECT_EQ(state->seats(*state->choices[0]), 2);
  EXPECT_EQ(state->seats(*state->choices[1]), 1);
  state->pending = 0;
  EXPECT_EQ(state->seats(*state->choices[0]), 1);
}

// The quick look must say what IsEndToken says, for few and for many end tokens.
TEST(EndTokensTest, SayWhatIsEndTokenSays) {
  for (const std::vector<std::int32_t>& model :
       {std::vector<std::int32_t>{}, {2}, {2, 3}, {2, 3, 4}}) {
    for (const std::vector<std::int32_t>& stop : {std::vector<std::int32_t>{}, {5}, {5, 6, 7}}) {
      for (const bool ignore_eos : {false, true}) {
        for (const int min_tokens : {0, 1, 3}) {
          Request request;
          request.end_token_ids = model;
          request.sampling.stop_token_ids = stop;
          request.sampling.ignore_eos = ignore_eos;
          request.sampling.min_tokens = min_tokens;
          const EndTokens ends(request);
          for (std::int32_t token = 0; token < 9; ++token) {
            for (int index = 0; index < 5; ++index) {
              EXPECT_EQ(ends.Contain(request, token, index), IsEndToken(request, token, index))
                  << "token " << token << " at " << index;
            }
          }
        }
      }
    }
  }
}

TEST(EndTokensTest, WithoutAnyNothingEnds) { EXPECT_FALSE(EndTokens().Contain(Request(), 0, 0)); }

}  // namespace
}  // namespace llava::scheduling
