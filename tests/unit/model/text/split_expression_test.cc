#include "model/text/split_expression.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/byte_level.h"

namespace llava::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kQwen2[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<std::string> Words(const std::string& expression, const std::string& text) {
  const auto split = SplitExpression::Create(expression);
  EXPECT_TRUE(split.ok()) << split.status();
  std::vector<std::string> words;
  for (const std::string_view word : split->Split(text)) words.emplace_back(word);
  return words;
}

// As tokenizers' Split cuts them.
TEST(SplitExpressionTest, CutsAsQwen2Does) {
  EXPECT_THAT(Words(kQwen2, "It's 12 cats.\n\n  Go"),
              ElementsAre("It", "'s", " ", "1", "2", " cats", ".\n\n", " ", " Go"));
  EXPECT_THAT(Words(kQwen2, "a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(Words(kQwen2, "a   "), ElementsAre("a", "   "));
  EXPECT_THAT(Words(kQwen2, "größer 日本語"), ElementsAre("größer", " 日本語"));
  EXPECT_THAT(Words(kQwen2, "\xC2\x85 x"), ElementsAre("\xC2\x85", " x"));  // U+0085 is a space
  EXPECT_THAT(Words(kQwen2, "\xE1\xA0\x8E"), ElementsAre("\xE1\xA0\x8E"));
}

TEST(SplitExpressionTest, CutsAsGpt2Does) {
  EXPECT_THAT(Words(kGpt2Expression, "we'll  see 123!"),
              ElementsAre("we", "'ll", " ", " see", " 123", "!"));
}

TEST(SplitExpressionTest, WhatIsBetweenMatchesIsAWordToo) {
  EXPECT_THAT(Words("[0-9]", "ab1c22"), ElementsAre("ab", "1", "c", "2", "2"));
  EXPECT_THAT(Words("x*", "axb"), ElementsAre("a", "x", "b"));
  EXPECT_THAT(Words("x", ""), ElementsAre());
}

TEST(SplitExpressionTest, RefusesWhatIsNoSuchExpression) {
  for (const std::string& bad : {std::string("("), std::string(R"((a)\1)"), std::string("(?<=a)b"),
                                 std::string(R"([\S])"), std::string(5000, 'a')}) {
    EXPECT_EQ(SplitExpression::Create(bad).status().code(), absl::StatusCode::kInvalidArgument)
        << bad.substr(0, 20);
  }
  EXPECT_THAT(std::string(SplitExpression::Create("(").status().message()),
              HasSubstr("regular expression"));
}

// (a+)+$ takes exponential time without a bound.
TEST(SplitExpressionTest, AHostileExpressionEnds) {
  const std::string text(40, 'a');
  std::string joined;
  for (const std::string& word : Words("(a+)+b|c", text)) joined += word;
  EXPECT_EQ(joined, text);
}

}  // namespace
}  // namespace llava::model
