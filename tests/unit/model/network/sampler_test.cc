#include "model/network/sampler.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "base/rng.h"
#include "gtest/gtest.h"
#include "model/grammar/token_constraint.h"

namespace llava::model {
namespace {

std::vector<float> RandomRow(Rng& rng, std::size_t words) {
  std::vector<float> row(words);
  for (float& x : row) x = static_cast<float>(rng.Normal() * 2);
  return row;
}

SampledToken Sample(const std::vector<float>& row, const SamplingParams& params,
                    std::uint64_t seed = 0, std::vector<std::int32_t> prompt = {},
                    std::vector<std::int32_t> output = {}) {
  Sampler sampler;
  const std::vector<std::int32_t> end = {2};
  const LogitsProcessors processors = MakeLogitsProcessors(params, end);
  const auto token = sampler.Sample(
      row, {.params = &params, .tokens = {prompt, output}, .processors = processors, .seed = seed});
  EXPECT_TRUE(token.ok()) << token.status();
  return token.value_or(SampledToken{});
}

// The probabilities by the definition, in double precision and with a full sort.
std::map<std::int32_t, double> Reference(const std::vector<float>& row, const SamplingParams& p) {
  std::vector<std::pair<double, std::int32_t>> sorted;
  const float top = *std::max_element(row.begin(), row.end());
  for (std::size_t i = 0; i < row.size(); ++i) {
    sorted.emplace_back(std::exp((static_cast<double>(row[i]) - top) / p.temperature),
                        static_cast<std::int32_t>(i));
  }
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  });
  if (p.top_k > 0 && sorted.size() > static_cast<std::size_t>(p.top_k)) sorted.resize(p.top_k);
  double total = 0, share = 0;
  for (const auto& [weight, token] : sorted) total += weight;
  std::map<std::int32_t, double> kept;
  double kept_total = 0;
  for (const auto& [weight, token] : sorted) {
    if (share >= p.top_p * total || weight < p.min_p) break;
    share += weight;
    kept[token] = weight;
    kept_total += weight;
  }
  for (auto& [token, weight] : kept) weight /= kept_total;
  return kept;
}

// Allows no token.
class Nothing final : public TokenConstraint {
 public:
  class Answer final : public ConstrainedAnswer {
   public:
    absl::StatusOr<std::span<const std::uint32_t>> Allowed() override {
      return std::span<const std::uint32_t>();
    }
    absl::Status Append(std::int32_t) override { return absl::OkStatus(); }
  };
  std::unique_ptr<ConstrainedAnswer> Begin() const override { return std::make_unique<Answer>(); }
};

TEST(SamplerTest, WhereAFormLeavesNoTokenItSaysSo) {
  for (const double temperature : {0.0, 1.0}) {
    SamplingParams params;
    params.temperature = temperature;
    params.constraint = std::make_shared<Nothing>();
    const LogitsProcessors processors = MakeLogitsProcessors(params, {});
    Sampler sampler;
    const auto token =
        sampler.Sample(std::vector<float>{1.0f, 2.0f},
                       {.params = &params, .tokens = {}, .processors = processors, .seed = 0});
    EXPECT_EQ(token.status().code(), absl::StatusCode::kInvalidArgument) << token.status();
  }
}

TEST(SamplerTest, GreedyTakesTheLargestAndOfEqualsTheSmallestId) {
  EXPECT_EQ(Sample({0.0f, 3.0f, -1.0f, 3.0f}, {}).token, 1);
  std::vector<float> row(1001, -1.0f);
  row[1000] = 0.5f;
  EXPECT_EQ(Sample(row, {}).token, 1000);
}

TEST(SamplerTest, DrawsFollowTheDistributionOfTheDefinition) {
  Rng rng(5);
  for (int round = 0; round < 12; ++round) {
    SamplingParams p;
    p.temperature = 0.5 + rng.Uniform();
    if (rng.Chance(0.5)) p.top_k = static_cast<int>(rng.Between(1, 20));
    if (rng.Chance(0.5)) p.top_p = 0.3 + 0.7 * rng.Uniform();
    if (rng.Chance(0.5)) p.min_p = 0.2 * rng.Uniform();
    const std::vector<float> row = RandomRow(rng, 37);
    const std::map<std::int32_t, double> expected = Reference(row, p);
    constexpr int kDraws = 4000;
    std::map<std::int32_t, int> counts;
    for (int i = 0; i < kDraws; ++i) ++counts[Sample(row, p, 1000 + i).token];
    for (const auto& [token, count] : counts) EXPECT_TRUE(expected.contains(token)) << token;
    for (const auto& [token, probability] : expected) {
      const double sigma = std::sqrt(kDraws * probability * (1 - probability));
      EXPECT_NEAR(counts[token], kDraws * probability, 5 * sigma + 1);
    }
  }
}

TEST(SamplerTest, TheNarrowestNucleusIsTheLikeliestToken) {
  SamplingParams p;
  p.temperature = 1.0;
  for (const double top_p : {0.0, 1e-300, 1e-17}) {
    p.top_p = top_p;
    for (const int top_k : {0, 2}) {
      p.top_k = top_k;
      for (std::uint64_t seed = 0; seed < 20; ++seed) {
        EXPECT_EQ(Sample({1.0f, 3.0f, 2.9f}, p, seed).token, 1) << top_p;
        EXPECT_EQ(Sample(std::vector<float>(8, 0.5f), p, seed).token,
                  Sample(std::vector<float>(8, 0.5f), p, 0).token)
            << top_p;
      }
    }
  }
}

TEST(SamplerTest, ADrawIsAFunctionOfSeedAndStepOnly) {
  Rng rng(6);
  SamplingParams p;
  p.temperature = 1.0;
  p.top_p = 0.95;
  const std::vector<float> row = RandomRow(rng, 500);
  const std::int32_t token = Sample(row, p, 9, {}, {4, 5}).token;
  EXPECT_EQ(Sample(row, p, 9, {1, 2, 3}, {7, 8}).token, token);
  int other_seed = 0, other_step = 0;
  for (std::uint64_t i = 0; i < 50; ++i) {
    other_seed += Sample(row, p, 10 + i, {}, {4, 5}).token != token;
    other_step += Sample(row, p, 9, {}, std::vector<std::int32_t>(3 + i, 4)).token != token;
  }
  EXPECT_GT(other_seed, 25);
  EXPECT_GT(other_step, 25);
}

TEST(SamplerTest, PenaltiesFollowTheirFormulas) {
  SamplingParams p;
  p.repetition_penalty = 2.0;
  // 3 in the prompt: 4 / 2; 0 negative: -1 * 2.
  EXPECT_EQ(Sample({-1.0f, 2.5f, 0.0f, 4.0f}, p, 0, {3, 3}).token, 1);
  EXPECT_EQ(Sample({-1.0f, -1.5f, -9.0f, -9.0f}, p, 0, {}, {0}).token, 1);
  p = {};
  p.presence_penalty = 0.6;  // once, however often
  EXPECT_EQ(Sample({1.0f, 0.5f}, p, 0, {}, {0, 0, 0}).token, 1);
  EXPECT_EQ(Sample({1.2f, 0.5f}, p, 0, {}, {0, 0, 0}).token, 0);
  EXPECT_EQ(Sample({1.0f, 0.5f}, p, 0, {0}, {}).token, 0);  // the prompt does not count
  p = {};
  p.frequency_penalty = 0.3;
  EXPECT_EQ(Sample({1.0f, 0.5f}, p, 0, {}, {0}).token, 0);
  EXPECT_EQ(Sample({1.0f, 0.5f}, p, 0, {}, {0, 0}).token, 1);
}

TEST(SamplerTest, BiasAndUnknownIds) {
  SamplingParams p;
  p.logit_bias = {{1, 5.0}, {99, 100.0}, {-1, 100.0}};
  EXPECT_EQ(Sample({1.0f, 0.0f}, p, 0, {1000000}, {-5}).token, 1);
}

TEST(SamplerTest, NoEndBeforeTheMinimum) {
  SamplingParams p;
  p.min_tokens = 2;
  p.stop_token_ids = {1};
  const std::vector<float> row = {0.0f, 2.0f, 3.0f};
  EXPECT_EQ(Sample(row, p, 0, {}, {0}).token, 0);
  EXPECT_EQ(Sample(row, p, 0, {}, {0, 0}).token, 2);
  p.ignore_eos = true;  // then 2 is a token like any other
  EXPECT_EQ(Sample(row, p, 0, {}, {0}).token, 2);
  p.stop_token_ids = {0, 1, 2};  // nothing left to choose: still an answer
  p.temperature = 1.0;
  EXPECT_EQ(Sample(row, p, 0, {}, {0}).token, 0);
}

TEST(SamplerTest, LogprobsAreThoseOfTheModel) {
  SamplingParams p;
  p.top_logprobs = 2;
  p.temperature = 0.3;
  p.top_k = 1;
  p.logit_bias = {{2, 50.0}};
  const SampledToken token = Sample({1.0f, 3.0f, 0.0f, 3.0f}, p);
  const double norm = std::log(std::exp(1.0) + 2 * std::exp(3.0) + 1.0);
  EXPECT_EQ(token.token, 2);
  EXPECT_NEAR(token.logprob, 0.0 - norm, 1e-5);
  ASSERT_EQ(token.top.size(), 2u);
  EXPECT_EQ(token.top[0].token, 1);
  EXPECT_EQ(token.top[1].token, 3);
  EXPECT_NEAR(token.top[0].logprob, 3.0 - norm, 1e-5);
  p.top_logprobs = 20;  // more than there are
  EXPECT_EQ(Sample({1.0f, 3.0f}, p).top.size(), 2u);
  p.top_logprobs = 0;
  EXPECT_TRUE(Sample({1.0f, 3.0f}, p).top.empty());
}

TEST(SamplerTest, EqualLogitsAreKeptBySmallerId) {
  SamplingParams p;
  p.temperature = 1.0;
  const std::vector<float> row(10'000, 0.25f);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    p.top_k = 3;
    p.top_p = 1.0;
    EXPECT_LT(Sample(row, p, seed).token, 3);
    p.top_k = 0;
    p.top_p = 0.0005;  // exactly five of them
    EXPECT_LT(Sample(row, p, seed).token, 5);
  }
}

TEST(SamplerTest, ATemperatureNextToZeroIsGreedy) {
  SamplingParams p;
  for (const double temperature : {1e-10, 1e-40, 1e-300}) {
    p.temperature = temperature;
    EXPECT_EQ(Sample({1.0f, 3.0f, 2.9f}, p).token, 1) << temperature;
  }
}

TEST(SamplerTest, APenaltyNextToNothingLeavesANumber) {
  SamplingParams p;
  p.repetition_penalty = 1e-300;
  for (const double temperature : {0.0, 1.0}) {
    p.temperature = temperature;
    EXPECT_EQ(Sample({1.0f, 3.0f, 0.0f}, p, 0, {0, 2}).token, 0);
  }
}

// Rows of all kinds, alone and as a step of many on several threads.
TEST(BatchSamplerTest, ABatchGivesWhatItsRowsGiveAlone) {
  constexpr int kRows = 40, kWords = 20'000;
  Rng rng(12);
  std::vector<std::vector<float>> logits;
  std::vector<SamplingParams> params(kRows);
  std::vector<LogitsProcessors> processors(kRows);
  std::vector<std::int32_t> alone;
  std::vector<SampleRow> rows;
  for (int i = 0; i < kRows; ++i) {
    logits.push_back(RandomRow(rng, kWords));
    SamplingParams& p = params[i];
    p.temperature = i % 4;
    if (rng.Chance(0.7)) p.top_p = rng.Uniform();
    if (rng.Chance(0.5)) p.top_k = static_cast<int>(rng.Between(1, kWords));
    if (rng.Chance(0.3)) p.min_p = rng.Uniform();
    alone.push_back(Sample(logits[i], p, i).token);
  }
  for (int i = 0; i < kRows; ++i) {
    rows.push_back({logits[i],
                    {.params = &params[i],
                     .tokens = {},
                     .processors = processors[i],
                     .seed = static_cast<std::uint64_t>(i)}});
  }
  const int threads = at::get_num_threads();
  BatchSampler sampler;
  for (const int count : {1, 4, 2}) {
    at::set_num_threads(count);
    const auto tokens = sampler.Sample(rows);
    ASSERT_EQ(std::ssize(tokens), kRows);
    for (int i = 0; i < kRows; ++i) EXPECT_EQ(tokens[i]->token, alone[i]) << count << " " << i;
  }
  at::set_num_threads(threads);
}

// A row behind a draft is sampled when the row before gave what was drafted, with the processors as
// they would be after that token.
TEST(BatchSamplerTest, RowsBehindDraftsAreSampledWhileTheDraftsAreTrue) {
  Rng rng(5);
  const std::vector<float> row = RandomRow(rng, 200);
  SamplingParams params;
  params.temperature = 0;
  params.frequency_penalty = 2;  // each token once, as long as their logits are near
  const std::vector<std::int32_t> end = {2};
  std::vector<std::int32_t> said;  // one token after the other
  for (int i = 0; i < 4; ++i) said.push_back(Sample(row, params, 0, {}, said).token);
  BatchSampler sampler;
  for (std::size_t wrong = 1; wrong <= 4; ++wrong) {
    const LogitsProcessors processors = MakeLogitsProcessors(params, end);
    std::vector<std::int32_t> drafted = said;
    if (wrong < 4) drafted[wrong - 1] = 199 - said[wrong - 1];
    std::vector<SampleRow> rows;
    for (std::size_t i = 0; i < 4; ++i) {
      rows.push_back({row,
                      {.params = &params,
                       .tokens = {{}, std::span(drafted).first(i)},
                       .processors = processors,
                       .seed = 0},
                      i == 0 ? kNotSampled : drafted[i - 1]});
    }
    const auto tokens = sampler.Sample(rows);
    for (std::size_t i = 0; i < 4; ++i) {
      ASSERT_TRUE(tokens[i].ok());
      EXPECT_EQ(tokens[i]->token, i < wrong ? said[i] : kNotSampled) << wrong << " " << i;
    }
  }
}

TEST(BatchSamplerTest, ARowThatFailsIsThatRowsTrouble) {
  const SamplingParams params;
  const std::vector<float> good = {1.0f, 2.0f}, bad = {1.0f, NAN};
  const SampleContext context{.params = &params, .tokens = {}, .processors = {}};
  const std::vector<SampleRow> rows = {{good, context}, {bad, context}, {good, context}};
  BatchSampler sampler;
  const auto tokens = sampler.Sample(rows);
  EXPECT_EQ(tokens[0]->token, 1);
  EXPECT_EQ(tokens[1].status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(tokens[2]->token, 1);
  EXPECT_TRUE(sampler.Sample({}).empty());
}

TEST(SamplerTest, LogitsThatAreNoNumbersAreAnError) {
  Sampler sampler;
  const SamplingParams p;
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const std::size_t at : {0, 17, 40}) {
      std::vector<float> row(41, 1.0f);
      row[at] = bad;
      EXPECT_EQ(sampler.Sample(row, {.params = &p, .tokens = {}, .processors = {}}).status().code(),
                absl::StatusCode::kInternal);
    }
  }
}

}  // namespace
}  // namespace llava::model
