#include "model/network/logits_processor.h"

#include <limits>
#include <vector>

#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/grammar/token_constraint.h"

namespace llava::model {
namespace {

using testing::ElementsAre;
using testing::FloatEq;
using testing::SizeIs;

constexpr float kNever = -std::numeric_limits<float>::infinity();

void Apply(const LogitsProcessors& processors, const ChoiceTokens& tokens, std::span<float> row) {
  for (const auto& processor : processors) processor->Process(tokens, row);
}

std::vector<float> Applied(const SamplingParams& params, std::vector<float> row,
                           const std::vector<std::int32_t>& prompt,
                           const std::vector<std::int32_t>& output) {
  Apply(MakeLogitsProcessors(params, std::vector<std::int32_t>{2}), {prompt, output}, row);
  return row;
}

TEST(LogitsProcessorTest, DefaultParametersNeedNone) {
  EXPECT_THAT(MakeLogitsProcessors({}, std::vector<std::int32_t>{2}), SizeIs(0));
}

TEST(LogitsProcessorTest, PenaltiesFollowTheirFormulas) {
  SamplingParams p;
  p.repetition_penalty = 2.0;
  p.presence_penalty = 0.5;
  p.frequency_penalty = 0.25;
  EXPECT_THAT(Applied(p, {4.0f, -4.0f, 4.0f, 4.0f}, {0, 1, 1}, {2, 0, 2}),
              ElementsAre(FloatEq(4.0f / 2 - 0.75f), FloatEq(-4.0f * 2), FloatEq(4.0f / 2 - 1.0f),
                          FloatEq(4.0f)));
}

TEST(LogitsProcessorTest, TheyRunInTheOrderThatSamplingParamsPromises) {
  SamplingParams p;
  p.repetition_penalty = 2.0;
  p.logit_bias = {{0, 3.0}, {1, 100.0}};
  p.min_tokens = 5;
  p.stop_token_ids = {1};
  EXPECT_THAT(MakeLogitsProcessors(p, {}), SizeIs(3));
  // The bias is not penalized, and what is ruled out stays so whatever its bias.
  EXPECT_THAT(Applied(p, {4.0f, 4.0f, 0.0f}, {0}, {0}), ElementsAre(5.0f, kNever, kNever));
}

TEST(LogitsProcessorTest, IdsOutsideOfTheRowAreIgnored) {
  SamplingParams p;
  p.repetition_penalty = 2.0;
  p.logit_bias = {{-1, 3.0}, {2, 3.0}, {1 << 30, 3.0}};
  p.min_tokens = 9;
  p.stop_token_ids = {-200, 2, 99};
  EXPECT_THAT(Applied(p, {1.0f, 1.0f}, {-200, 2, 99}, {-1, 1 << 30}), ElementsAre(1.0f, 1.0f));
}

TEST(LogitsProcessorTest, EndTokensAreRuledOutBelowTheMinimumOnly) {
  SamplingParams p;
  p.min_tokens = 2;
  p.stop_token_ids = {1};
  EXPECT_THAT(Applied(p, {1.0f, 1.0f, 1.0f}, {}, {0}), ElementsAre(1.0f, kNever, kNever));
  EXPECT_THAT(Applied(p, {1.0f, 1.0f, 1.0f}, {}, {0, 0}), ElementsAre(1.0f, 1.0f, 1.0f));
  p.ignore_eos = true;
  EXPECT_THAT(Applied(p, {1.0f, 1.0f, 1.0f}, {}, {0}), ElementsAre(1.0f, kNever, 1.0f));
}

// Token 0 first, then 33, then the end, which is token 2.
class OneWay final : public TokenConstraint {
 public:
  class Answer final : public ConstrainedAnswer {
   public:
    absl::StatusOr<std::span<const std::uint32_t>> Allowed() override {
      if (tokens_ > 2) return absl::ResourceExhaustedError("too much work");
      allowed_ = {tokens_ == 0 ? 1u : tokens_ == 2 ? 4u : 0u, tokens_ == 1 ? 2u : 0u};
      return std::span<const std::uint32_t>(allowed_);
    }
    absl::Status Append(std::int32_t token) override {
      const std::int32_t expected = tokens_++ == 0 ? 0 : 33;
      return token == expected ? absl::OkStatus() : absl::InvalidArgumentError("not this one");
    }

   private:
    int tokens_ = 0;
    std::vector<std::uint32_t> allowed_;
  };

  std::unique_ptr<ConstrainedAnswer> Begin() const override { return std::make_unique<Answer>(); }
};

TEST(LogitsProcessorTest, OnlyWhatTheFormAllowsIsLeft) {
  SamplingParams p;
  p.constraint = std::make_shared<OneWay>();
  p.logit_bias = {{1, 100.0}};
  const auto left = [&](const std::vector<std::int32_t>& output) {
    std::vector<int> tokens;
    const std::vector<float> row = Applied(p, std::vector<float>(70, 1.0f), {}, output);
    for (int i = 0; i < 70; ++i) {
      if (row[static_cast<std::size_t>(i)] != kNever) tokens.push_back(i);
    }
    return tokens;
  };
  EXPECT_THAT(left({}), ElementsAre(0));
  EXPECT_THAT(left({0}), ElementsAre(33));
  EXPECT_THAT(left({0, 33}), ElementsAre(2));
  EXPECT_THAT(left({0, 33, 33}), SizeIs(0));  // more work than is allowed
  EXPECT_THAT(left({1}), SizeIs(0));          // cannot be
  const LogitsProcessors kept = MakeLogitsProcessors(p, {});
  for (const std::vector<std::int32_t>& output : {std::vector<std::int32_t>{}, {0}, {0, 33}}) {
    std::vector<float> row(70, 1.0f);
    Apply(kept, {{}, output}, row);
    EXPECT_EQ(row, Applied(p, std::vector<float>(70, 1.0f), {}, output));
  }
}

TEST(LogitsProcessorTest, TheFormAloneIsAMaskAndWritesEveryWord) {
  SamplingParams p;
  p.constraint = std::make_shared<OneWay>();
  p.logit_bias = {{1, 100.0}};
  const LogitsProcessors processors = MakeLogitsProcessors(p, {});
  ASSERT_THAT(processors, SizeIs(2));
  EXPECT_FALSE(processors[0]->IsMask());
  ASSERT_TRUE(processors[1]->IsMask());
  const auto left = [&](const std::vector<std::int32_t>& output, std::size_t words) {
    std::vector<std::uint32_t> mask(words, ~std::uint32_t{0});
    processors[1]->Mask({{}, output}, mask);
    return mask;
  };
  EXPECT_THAT(left({}, 3), ElementsAre(1, 0, 0));
  EXPECT_THAT(left({0}, 3), ElementsAre(0, 2, 0));
  EXPECT_THAT(left({0, 33}, 1), ElementsAre(4)) << "the row is shorter than the vocabulary";
  EXPECT_THAT(left({0, 33, 33}, 3), ElementsAre(0, 0, 0)) << "more work than is allowed";
}

// What preemption relies on: state that was built token by token, in jumps, or at once.
TEST(LogitsProcessorTest, AProcessorMadeInTheMiddleOfAnAnswerDoesTheSame) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    SamplingParams p;
    p.repetition_penalty = 1.0 + rng.Uniform();
    p.presence_penalty = rng.Uniform();
    p.frequency_penalty = rng.Uniform();
    p.min_tokens = 10;
    std::vector<std::int32_t> prompt, output;
    for (int i = 0; i < 30; ++i) prompt.push_back(static_cast<std::int32_t>(rng.Below(40)));
    const LogitsProcessors kept = MakeLogitsProcessors(p, std::vector<std::int32_t>{2});
    for (int step = 0; step < 40; ++step) {
      std::vector<float> row(40);
      for (float& x : row) x = static_cast<float>(rng.Normal());
      const std::vector<float> expected = Applied(p, row, prompt, output);
      if (rng.Chance(0.7)) {
        Apply(kept, {prompt, output}, row);
        ASSERT_EQ(row, expected);
      }
      output.push_back(static_cast<std::int32_t>(rng.Below(40)));
    }
  }
}

}  // namespace
}  // namespace llava::model
