#include "server/chat/scores.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/field_error.h"

namespace llava::api {
namespace {

engine::Delta Tokens(int choice, const std::vector<float>& logprobs) {
  engine::Delta delta;
  delta.choice = choice;
  for (const float logprob : logprobs) {
    delta.tokens.push_back({.token = 5, .logprob = logprob, .top = {}});
  }
  return delta;
}

TEST(Scores, AreSumsOverTheTokensOfEach) {
  Scores scores({2, 1, 2});
  scores.Add(Tokens(0, {-1, -2}));
  scores.Add(Tokens(1, {-2.5f, -0.1f}));  // and its end, which is not scored
  scores.Add(Tokens(2, {-2}));
  EXPECT_EQ(FieldOf(scores.Check()), "choices[2]");
  scores.Add(Tokens(2, {-0.5f}));
  ASSERT_TRUE(scores.Check().ok());
  EXPECT_DOUBLE_EQ(scores.LogprobOf(0), -3);
  EXPECT_DOUBLE_EQ(scores.LogprobOf(1), -2.5);
  EXPECT_EQ(scores.TokensOf(1).size(), 1u);
  EXPECT_EQ(scores.Best(), 1u);  // the first of the two
}

}  // namespace
}  // namespace llava::api
