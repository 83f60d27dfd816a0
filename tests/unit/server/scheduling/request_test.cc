#include "server/scheduling/request.h"

#include <gtest/gtest.h>

#include <set>

namespace llava::scheduling {
namespace {

TEST(IsEndTokenTest, TokensOfTheModelAndOfTheRequest) {
  Request request;
  request.end_token_ids = {2};
  request.sampling.stop_token_ids = {9};
  EXPECT_TRUE(IsEndToken(request, 2, 0));
  EXPECT_TRUE(IsEndToken(request, 9, 0));
  EXPECT_FALSE(IsEndToken(request, 3, 0));
  request.sampling.ignore_eos = true;
  EXPECT_FALSE(IsEndToken(request, 2, 0));
  EXPECT_TRUE(IsEndToken(request, 9, 0)) << "what the request itself asked for";
}

TEST(IsEndTokenTest, NotBeforeMinTokens) {
  Request request;
  request.end_token_ids = {2};
  request.sampling.min_tokens = 3;
  EXPECT_FALSE(IsEndToken(request, 2, 0));
  EXPECT_FALSE(IsEndToken(request, 2, 1));
  EXPECT_TRUE(IsEndToken(request, 2, 2)) << "it is the third token";
}

TEST(ChoiceSeedTest, FollowsTheSeedAndTheChoiceNotTheRequest) {
  Request request;
  request.id = RequestId(1);
  request.sampling.seed = 7;
  Request other = request;
  other.id = RequestId(2);
  EXPECT_EQ(ChoiceSeed(request, 0), ChoiceSeed(other, 0));
  std::set<std::uint64_t> seeds;
  for (int choice = 0; choice < 16; ++choice) seeds.insert(ChoiceSeed(request, choice));
  EXPECT_EQ(seeds.size(), 16u);
  other.sampling.seed = 8;
  EXPECT_NE(ChoiceSeed(request, 0), ChoiceSeed(other, 0));
}

TEST(ChoiceSeedTest, WithoutASeedEachRequestHasItsOwn) {
  Request request;
  request.id = RequestId(1);
  Request other = request;
  other.id = RequestId(2);
  EXPECT_NE(ChoiceSeed(request, 0), ChoiceSeed(other, 0));
  EXPECT_EQ(ChoiceSeed(request, 0), ChoiceSeed(Request(request), 0));
}

TEST(MostTokensTest, AreThePromptAndEveryAnswer) {
  Request request;
  request.prompt_ids = {1, 2, 3};
  request.n = 2;
  request.sampling.max_tokens = 20;
  EXPECT_EQ(MostTokens(request), 3 + 2 * 20);
}

}  // namespace
}  // namespace llava::scheduling
