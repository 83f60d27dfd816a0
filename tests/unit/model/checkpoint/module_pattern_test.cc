#include "model/checkpoint/module_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;

TEST(ModulePatternTest, ANameIsAWholeOneOrTheEndBehindADot) {
  const ModulePattern names = ModulePattern::Names({"q_proj", "mlp.up_proj"});
  EXPECT_TRUE(names.Matches("q_proj"));
  EXPECT_TRUE(names.Matches("model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(names.Matches("model.layers.0.mlp.up_proj"));
  EXPECT_FALSE(names.Matches("model.layers.0.other.up_proj"));
  EXPECT_FALSE(names.Matches("model.layers.0.self_attn.faq_proj"));
  EXPECT_FALSE(names.Matches("q_proj.weight"));
  EXPECT_FALSE(ModulePattern().Matches("q_proj"));
}

TEST(ModulePatternTest, AnExpressionMatchesTheWholeName) {
  const auto some = ModulePattern::Expression(R"(.*layers\.(?!0\.)\d+\..*(q|v)_proj)");
  ASSERT_TRUE(some.ok());
  EXPECT_TRUE(some->Matches("model.layers.11.self_attn.v_proj"));
  EXPECT_FALSE(some->Matches("model.layers.0.self_attn.v_proj"));
  EXPECT_FALSE(some->Matches("model.layers.11.self_attn.v_proj.weight"));
  EXPECT_FALSE(ModulePattern::Expression("q_proj")->Matches("self_attn.q_proj"));
}

TEST(ModulePatternTest, WhatIsNoExpressionIsRefused) {
  EXPECT_THAT(std::string(ModulePattern::Expression("(q_proj").status().message()),
              HasSubstr("expected a regular expression"));
  EXPECT_FALSE(ModulePattern::Expression(std::string(70'000, 'q')).ok());
}

TEST(ModulePatternTest, AMatchOfTooManyStepsIsNone) {
  const auto slow = ModulePattern::Expression("(a+)+b");
  ASSERT_TRUE(slow.ok());
  EXPECT_FALSE(slow->Matches(absl::StrCat(std::string(64, 'a'), "c")));
}

}  // namespace
}  // namespace llava::model
