#include "model/grammar/forced_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace llava::model {
namespace {

using ::testing::ElementsAre;

std::vector<int> Allowed(ConstrainedAnswer& answer) {
  std::vector<int> ids;
  const auto mask = answer.Allowed();
  EXPECT_TRUE(mask.ok()) << mask.status();
  for (int id = 0; mask.ok() && id < static_cast<int>(mask->size() * 32); ++id) {
    const auto at = static_cast<std::size_t>(id);
    if (((*mask)[at / 32] >> (at % 32) & 1) != 0) ids.push_back(id);
  }
  return ids;
}

TEST(ForcedTokens, EachChoiceHasItsOwnThenTheEnd) {
  const auto forced = ForceTokens({{7, {64, 3}}, {9, {31}}}, {2, 40}, 65);
  const auto first = forced->BeginChoice(7);
  const auto second = forced->BeginChoice(9);
  EXPECT_THAT(Allowed(*first), ElementsAre(64));
  EXPECT_THAT(Allowed(*second), ElementsAre(31));
  EXPECT_TRUE(first->Append(64).ok());
  EXPECT_TRUE(second->Append(31).ok());
  EXPECT_THAT(Allowed(*first), ElementsAre(3));
  EXPECT_THAT(Allowed(*second), ElementsAre(2, 40));
  EXPECT_FALSE(first->Append(4).ok());
  EXPECT_FALSE(second->Append(31).ok());
  EXPECT_TRUE(first->Append(3).ok());
  EXPECT_THAT(Allowed(*first), ElementsAre(2, 40));
}

TEST(ForcedTokens, AnotherSeedEndsAtOnce) {
  EXPECT_THAT(Allowed(*ForceTokens({{7, {1}}}, {2}, 33)->Begin()), ElementsAre(2));
}

}  // namespace
}  // namespace llava::model
