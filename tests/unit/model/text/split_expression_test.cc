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

// PCRE2 by itself takes $ for the end of the text, no mark for a part of a word, and for Han what
// other scripts have of it: U+3001.
TEST(SplitExpressionTest, MeansWhatOnigurumaMeans) {
  EXPECT_THAT(Words(R"(\s+$)", "a  \nb \n"), ElementsAre("a", "  ", "\nb", " \n"));
  EXPECT_THAT(Words("^a", "aa\naa"), ElementsAre("a", "a\n", "a", "a"));
  EXPECT_THAT(Words(R"(\w+)", "e\u0301a, b_"), ElementsAre("e\u0301a", ", ", "b_"));
  EXPECT_THAT(Words(R"([\w,]+)", "e\u0301,. b"), ElementsAre("e\u0301,", ". ", "b"));
  EXPECT_THAT(Words(R"(\w+)", "\u00b2a"), ElementsAre("\u00b2a"));
  EXPECT_THAT(Words(R"([\w]+)", "\u00b2a"), ElementsAre("\u00b2", "a"));
  EXPECT_THAT(Words(R"(\W+)", "e\u0301, b"), ElementsAre("e\u0301", ", ", "b"));
  EXPECT_THAT(Words(R"(\p{Han}+)", "\u65e5\u3001a"), ElementsAre("\u65e5", "\u3001a"));
  EXPECT_THAT(Words(R"([^\p{^Han}]+)", "\u65e5\u3001a"), ElementsAre("\u65e5", "\u3001a"));
}

TEST(SplitExpressionTest, LooksBehindAsOnigurumaDoes) {
  EXPECT_THAT(Words("(?<=a)b", "abbab"), ElementsAre("a", "b", "ba", "b"));
  EXPECT_THAT(Words("(?<!a)b", "abbab"), ElementsAre("ab", "b", "ab"));
  EXPECT_THAT(Words("(?<=ab|c)x", "abxcxbx"), ElementsAre("ab", "x", "c", "x", "bx"));
  EXPECT_THAT(Words(R"(\bab)", "ab cab ab_ab"), ElementsAre("ab", " cab ", "ab", "_ab"));
  EXPECT_THAT(Words(R"(\b\d+\b)", "12 a12 12a \u00b212"),
              ElementsAre("12", " a12 12a \u00b212"));  // a power is of a word to one of them
  EXPECT_THAT(Words(R"(\b)", "ab, c"), ElementsAre("ab", ", ", "c"));
  EXPECT_THAT(Words(R"(\b)", "e\u0301a b"), ElementsAre("e\u0301a", " ", "b"));
  EXPECT_THAT(Words(R"(\B.)", "ab c"), ElementsAre("a", "b", " c"));
}

TEST(SplitExpressionTest, AMatchOfNothingCuts) {
  EXPECT_THAT(Words(R"((?=\d))", "ab12"), ElementsAre("ab", "1", "2"));
  EXPECT_THAT(Words("$", "a \nb"), ElementsAre("a ", "\nb"));
}

TEST(SplitExpressionTest, RefusesWhatOnigurumaReadsDifferently) {
  for (const char* other :
       {R"(\h+)", R"(\v)", R"(a\Kb)", R"(\N)", R"(\pL)", "[a-z&&[^aeiou]]", "[a[0-9]]",
        "[[:alpha:]]", "[]a]", "[^]a]", "(?m:.+)", "(?im)a", "(?-m)a", "a{,3}", R"([\W])"}) {
    EXPECT_EQ(SplitExpression::Create(other).status().code(), absl::StatusCode::kInvalidArgument)
        << other;
  }
  EXPECT_TRUE(SplitExpression::Create(R"((?i:m)[!"#$%&'()*+\[\]^]m{1,3}\p{Lu}\x{6d}(?:m))").ok());
}

TEST(SplitExpressionTest, RefusesWhatIsNoSuchExpression) {
  for (const std::string& bad : {std::string("("), std::string(R"((a)\1)"), std::string("(?<=a+)b"),
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
