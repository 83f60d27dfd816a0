// What is of the step and not of a row; tests/property/step_sampler_test.cc has the rows.
#include "server/torch/step_sampler.h"

#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "model/network/logits_processor.h"
#include "tests/property/sampling_cases.h"

namespace llava::engine {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kWords = 12;

// On the device's way, and on that of the CPU.
class StepSamplerTest : public testing::TestWithParam<bool> {
 protected:
  // `rows` rows in which no word is likelier than another; row r prefers word 2 * r.
  static at::Tensor Logits(std::int64_t rows) {
    at::Tensor logits = at::zeros({rows, kWords});
    for (std::int64_t r = 0; r < rows; ++r) logits[r][2 * r] = 3.0;
    return logits;
  }

  static model::SampleContext Context(
      const SamplingParams& params,
      std::span<const std::unique_ptr<model::LogitsProcessor>> processors = {}) {
    return {.params = &params, .tokens = {}, .processors = processors};
  }

  StepSampler::Row Greedy(std::int64_t row, std::int32_t draft = kNotSampled) const {
    return {row, Context(greedy_), draft};
  }

  std::vector<absl::StatusOr<SampledToken>> Sample(const at::Tensor& logits,
                                                   const std::vector<StepSampler::Row>& rows) {
    const c10::InferenceMode inference;
    sampler_.Launch(logits, rows);
    return sampler_.Collect();
  }
  std::vector<std::int32_t> Tokens(const at::Tensor& logits,
                                   const std::vector<StepSampler::Row>& rows) {
    std::vector<std::int32_t> tokens;
    for (const auto& token : Sample(logits, rows)) tokens.push_back(token.value().token);
    return tokens;
  }

  const SamplingParams greedy_;
  StepSampler sampler_{model::StepBuffer(at::kCPU, /*copies=*/GetParam()),
                       /*on_device=*/GetParam()};
};

TEST_P(StepSamplerTest, SamplesMayShareARowAndLeaveRowsOut) {
  SamplingParams drawn;
  drawn.temperature = 2.0;
  const at::Tensor logits = Logits(4);
  std::vector<StepSampler::Row> rows = {Greedy(1), Greedy(1), Greedy(3)};
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    rows.push_back({2, {.params = &drawn, .tokens = {}, .processors = {}, .seed = seed}});
  }
  const std::vector<std::int32_t> tokens = Tokens(logits, rows);
  EXPECT_THAT(std::vector(tokens.begin(), tokens.begin() + 3), ElementsAre(2, 2, 6));
  model::Sampler reference;
  const at::Tensor row = logits[2].contiguous();
  const std::span<const float> alone(row.const_data_ptr<float>(), kWords);
  for (std::size_t i = 3; i < rows.size(); ++i) {
    EXPECT_EQ(tokens[i], reference.Sample(alone, rows[i].context)->token) << i;
  }
}

TEST_P(StepSamplerTest, NothingToSample) { EXPECT_TRUE(Sample(Logits(0), {}).empty()); }

TEST_P(StepSamplerTest, LogitsOfHalfThePrecision) {
  EXPECT_THAT(Tokens(Logits(3).to(at::kBFloat16), {Greedy(0), Greedy(2)}), ElementsAre(0, 4));
}

TEST_P(StepSamplerTest, ARowThatIsNoNumberIsThatRowsTrouble) {
  at::Tensor logits = Logits(5);
  logits[1][7] = NAN;
  logits[2][7] = INFINITY;
  logits[3].fill_(-INFINITY);
  const auto tokens = Sample(logits, {Greedy(0), Greedy(1), Greedy(2), Greedy(3), Greedy(4)});
  EXPECT_EQ(tokens[0]->token, 0);
  for (const std::size_t i : {1, 2, 3}) EXPECT_EQ(tokens[i].status(), model::NotANumber()) << i;
  EXPECT_EQ(tokens[4]->token, 8);
}

TEST_P(StepSamplerTest, ARowBehindADraftIsSampledWhileTheDraftsAreTrue) {
  const at::Tensor logits = Logits(6);
  EXPECT_THAT(Tokens(logits, {Greedy(0), Greedy(1, 0), Greedy(2, 2), Greedy(3)}),
              ElementsAre(0, 2, 4, 6));
  EXPECT_THAT(Tokens(logits, {Greedy(0), Greedy(1, 5), Greedy(2, 2), Greedy(3)}),
              ElementsAre(0, kNotSampled, kNotSampled, 6));
}

// The processors of a choice count what was said, and no draft that was not.
TEST_P(StepSamplerTest, ADraftThatIsWrongIsNeverCounted) {
  SamplingParams params;
  params.frequency_penalty = 2.0;
  const model::LogitsProcessors processors = model::MakeLogitsProcessors(params, {});
  std::vector<std::int32_t> said = {4, 5};
  const auto row = [&](std::int64_t number, std::size_t outputs, std::int32_t draft) {
    return StepSampler::Row{number,
                            {.params = &params,
                             .tokens = {{}, std::span(said).first(outputs)},
                             .processors = processors},
                            draft};
  };
  // After 4 it does not say 5: its logit goes from 3 to 1 by the one 4, and is the largest yet.
  const at::Tensor logits = Logits(3);
  EXPECT_THAT(Tokens(logits, {row(2, 1, kNotSampled), row(1, 2, 5)}), ElementsAre(4, kNotSampled));
  said = {4, 4};
  EXPECT_THAT(Tokens(logits, {row(2, 2, kNotSampled)}), ElementsAre(0)) << "4 was said twice";
}

// A processor that only knows whole rows: the CPU does these, beside rows of the device.
class KeepsOne final : public model::LogitsProcessor {
 public:
  explicit KeepsOne(std::size_t token) : token_(token) {}
  void Process(const model::ChoiceTokens&, std::span<float> row_V) override {
    for (std::size_t i = 0; i < row_V.size(); ++i) {
      if (i != token_) row_V[i] = -INFINITY;
    }
  }

 private:
  const std::size_t token_;
};

TEST_P(StepSamplerTest, WhatCannotBeListedIsDoneByTheCpuForItsRowsAlone) {
  std::vector<model::LogitsProcessors> kept(2);
  kept[0].push_back(std::make_unique<KeepsOne>(9));
  kept[1].push_back(std::make_unique<KeepsOne>(10));
  SamplingParams explained;
  explained.top_logprobs = 2;
  const std::vector<StepSampler::Row> rows = {Greedy(4),
                                              {1, Context(greedy_, kept[0])},
                                              {1, Context(greedy_, kept[1])},
                                              {5, Context(explained)},
                                              {3, Context(explained, kept[1])}};
  const auto tokens = Sample(Logits(6), rows);
  const std::int32_t expected[] = {8, 9, 10, 10, 10};
  for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(tokens[i]->token, expected[i]) << i;
  const double norm = std::log(11 + std::exp(3.0));
  EXPECT_NEAR(tokens[3]->logprob, 3 - norm, 1e-5);
  EXPECT_NEAR(tokens[4]->logprob, -norm, 1e-5);
  ASSERT_EQ(tokens[3]->top.size(), 2u);
  EXPECT_EQ(tokens[3]->top[0].token, 10);
  EXPECT_EQ(tokens[3]->top[1].token, 0) << "of equals the smallest id";
  ASSERT_EQ(tokens[4]->top.size(), 2u);
  EXPECT_EQ(tokens[4]->top[0].token, 6) << "before the form";
}

// A mask that leaves these words. The device never wants its rows whole.
class Leaves final : public model::LogitsProcessor {
 public:
  Leaves(std::uint32_t words, bool on_device) : words_(words), on_device_(on_device) {}
  void Process(const model::ChoiceTokens&, std::span<float> row_V) override {
    EXPECT_FALSE(on_device_);
    for (std::size_t i = 0; i < row_V.size(); ++i) {
      if ((words_ >> i & 1) == 0) row_V[i] = -INFINITY;
    }
  }
  bool IsMask() const override { return true; }
  void Mask(const model::ChoiceTokens&, std::span<std::uint32_t> left) override {
    ASSERT_EQ(left.size(), 1u) << "for " << kWords << " words";
    left[0] = words_;
  }

 private:
  const std::uint32_t words_;
  const bool on_device_;
};

TEST_P(StepSamplerTest, MasksGoToTheDeviceAsBitsAndRowsStayThere) {
  SamplingParams biased;
  biased.top_logprobs = 1;
  biased.logit_bias = {{5, 9.0}, {6, 90.0}};
  model::LogitsProcessors both = model::MakeLogitsProcessors(biased, {});
  both.push_back(std::make_unique<Leaves>(0b100100, GetParam()));
  model::LogitsProcessors alone;
  alone.push_back(std::make_unique<Leaves>(0b111000000000, GetParam()));
  const auto tokens = Sample(
      Logits(6), {Greedy(4), {3, Context(greedy_, alone)}, Greedy(2), {2, Context(biased, both)}});
  const std::int32_t expected[] = {8, 9, 4, 5};
  for (std::size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(tokens[i]->token, expected[i]) << i;
  const double norm = std::log(11 + std::exp(3.0));
  EXPECT_NEAR(tokens[3]->logprob, -norm, 1e-5) << "before the bias";
  ASSERT_EQ(tokens[3]->top.size(), 1u);
  EXPECT_EQ(tokens[3]->top[0].token, 4) << "before the mask";
  EXPECT_THAT(Tokens(Logits(1), {Greedy(0)}), ElementsAre(0)) << "the step after";
}

TEST_P(StepSamplerTest, AMaskThatLeavesNothingIsThatChoicesTrouble) {
  SamplingParams formed;
  formed.constraint = std::make_shared<model::SameTokens>(std::vector<std::uint32_t>{});
  for (const double temperature : {0.0, 1.0}) {
    formed.temperature = temperature;
    const model::LogitsProcessors processors = model::MakeLogitsProcessors(formed, {});
    at::Tensor logits = Logits(3);
    logits[2][1] = NAN;
    const auto tokens = Sample(
        logits, {{0, Context(formed, processors)}, Greedy(1), {2, Context(formed, processors)}});
    EXPECT_EQ(tokens[0].status(), model::NoTokenLeft());
    EXPECT_EQ(tokens[1]->token, 2);
    EXPECT_EQ(tokens[2].status(), model::NotANumber());
  }
}

TEST_P(StepSamplerTest, AStepKnowsNothingOfTheOneBefore) {
  SamplingParams odd;
  odd.temperature = 0.5;
  odd.top_p = 0.5;
  odd.top_logprobs = 20;
  odd.logit_bias = {{11, 50.0}};
  const model::LogitsProcessors processors = model::MakeLogitsProcessors(odd, {});
  const StepSampler::Row biased = {0, Context(odd, processors)};
  const auto first = Sample(Logits(2), {biased, Greedy(1)});
  EXPECT_EQ(first[0]->token, 11);
  EXPECT_EQ(first[0]->top.size(), static_cast<std::size_t>(kWords)) << "there are no more";
  EXPECT_EQ(first[1]->token, 2);
  EXPECT_TRUE(first[1]->top.empty());
  const auto second = Sample(Logits(2), {Greedy(0), Greedy(1)});
  EXPECT_EQ(second[0]->token, 0);
  EXPECT_TRUE(second[0]->top.empty());
}

INSTANTIATE_TEST_SUITE_P(Ways, StepSamplerTest, testing::Bool(),
                         [](const auto& on_device) { return on_device.param ? "device" : "cpu"; });

}  // namespace
}  // namespace llava::engine
