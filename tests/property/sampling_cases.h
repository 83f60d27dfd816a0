// The contract of model/network/sampler.h, written down plainly: sorted, in double precision. And
// random cases for it.
#ifndef LLAVA_TESTS_PROPERTY_SAMPLING_CASES_H_
#define LLAVA_TESTS_PROPERTY_SAMPLING_CASES_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/rng.h"
#include "base/sampled_token.h"
#include "base/sampling_params.h"
#include "model/grammar/token_constraint.h"

namespace llava::model {

// Where sums are rounded, the two may differ: by so much of a boundary.
inline constexpr double kRounding = 1e-6;

inline std::uint64_t FirstSeed() {
  const char* seed = std::getenv("LLAVA_SEED");
  return seed != nullptr ? std::strtoull(seed, nullptr, 10) : 1;
}

// A form that leaves the same tokens wherever an answer stands.
class SameTokens final : public TokenConstraint {
 public:
  // As ConstrainedAnswer::Allowed gives them.
  explicit SameTokens(std::vector<std::uint32_t> allowed) : allowed_(std::move(allowed)) {}

  std::unique_ptr<ConstrainedAnswer> Begin() const override {
    return std::make_unique<Answer>(allowed_);
  }

 private:
  class Answer final : public ConstrainedAnswer {
   public:
    explicit Answer(std::vector<std::uint32_t> allowed) : allowed_(std::move(allowed)) {}
    absl::StatusOr<std::span<const std::uint32_t>> Allowed() override {
      return std::span<const std::uint32_t>(allowed_);
    }
    absl::Status Append(std::int32_t) override { return absl::OkStatus(); }

   private:
    const std::vector<std::uint32_t> allowed_;
  };

  const std::vector<std::uint32_t> allowed_;
};

struct Case {
  std::vector<float> row;
  SamplingParams params;
  std::vector<std::uint32_t> allowed;  // by params.constraint, where there is one
  std::vector<std::int32_t> prompt, output, end_ids;
  std::uint64_t seed = 0;
};

inline std::int32_t AnyToken(Rng& rng, std::size_t words) {
  return static_cast<std::int32_t>(rng.Below(words + 3)) - 1;  // some that the row does not have
}

// Logits of a few values, for ties, or of many, with some that stand out.
inline std::vector<float> RandomRow(Rng& rng, std::size_t words) {
  constexpr double kDeviations[] = {0.0, 0.1, 1.0, 3.0, 10.0, 40.0};
  const double deviation = kDeviations[rng.Below(std::size(kDeviations))];
  const bool has_ties = rng.Chance(0.4);
  std::vector<float> row(words);
  for (float& x : row) {
    const double logit = rng.Normal() * deviation;
    x = static_cast<float>(has_ties ? std::round(logit) : logit);
  }
  if (rng.Chance(0.3)) row[rng.Below(words)] += 20.0f;
  return row;
}

inline SamplingParams RandomParams(Rng& rng, std::size_t words) {
  SamplingParams p;
  constexpr double kTemperatures[] = {0.0, 1e-300, 0.01, 0.3, 1.0, 1.7, 100.0};
  p.temperature = kTemperatures[rng.Below(std::size(kTemperatures))];
  if (rng.Chance(0.5)) p.top_p = rng.Chance(0.1) ? 0.0 : rng.Uniform();
  if (rng.Chance(0.2)) p.top_p = 0.9 + 0.1 * rng.Uniform();
  if (rng.Chance(0.4)) p.top_k = static_cast<int>(rng.Between(1, std::int64_t(words) + 2));
  if (rng.Chance(0.2)) p.top_k = static_cast<int>(rng.Between(1, 50));
  if (rng.Chance(0.3)) p.min_p = rng.Chance(0.1) ? 1.0 : rng.Uniform() * rng.Uniform();
  if (rng.Chance(0.2)) p.repetition_penalty = 0.5 + rng.Uniform();
  if (rng.Chance(0.2)) p.presence_penalty = 4 * rng.Uniform() - 2;
  if (rng.Chance(0.2)) p.frequency_penalty = 4 * rng.Uniform() - 2;
  if (rng.Chance(0.2)) p.logit_bias[AnyToken(rng, words)] = 200 * rng.Uniform() - 100;
  if (rng.Chance(0.2)) p.min_tokens = static_cast<int>(rng.Between(1, 4));
  if (rng.Chance(0.2)) p.stop_token_ids = {AnyToken(rng, words), AnyToken(rng, words)};
  p.ignore_eos = rng.Chance(0.2);
  if (rng.Chance(0.3)) p.top_logprobs = static_cast<int>(rng.Between(0, 20));
  return p;
}

// Of a few tokens, of most, or of every second; some masks end before the row does, or after it.
inline std::vector<std::uint32_t> RandomMask(Rng& rng, std::size_t words) {
  constexpr double kShares[] = {0.0, 0.02, 0.5, 0.98, 1.0};
  const double share = kShares[rng.Below(std::size(kShares))];
  std::vector<std::uint32_t> mask((words + 31) / 32 + rng.Below(2));
  if (rng.Chance(0.1)) mask.pop_back();
  for (std::uint32_t& word : mask) {
    for (int bit = 0; bit < 32; ++bit) word |= std::uint32_t{rng.Chance(share)} << bit;
  }
  return mask;
}

inline Case RandomCase(Rng& rng, std::size_t words) {
  Case c;
  c.row = RandomRow(rng, words);
  c.params = RandomParams(rng, words);
  for (std::uint64_t i = rng.Below(5); i > 0; --i) c.prompt.push_back(AnyToken(rng, words));
  for (std::uint64_t i = rng.Below(5); i > 0; --i) c.output.push_back(AnyToken(rng, words));
  c.end_ids = {AnyToken(rng, words)};
  c.seed = rng.Next();
  if (rng.Chance(0.3)) {
    c.allowed = RandomMask(rng, words);
    c.params.constraint = std::make_shared<SameTokens>(c.allowed);
  }
  return c;
}

// Step 2 of the contract.
inline std::vector<float> Processed(const Case& c) {
  std::vector<float> row = c.row;
  const SamplingParams& p = c.params;
  const auto set = [&](std::int32_t token, auto f) {
    if (token >= 0 && token < std::ssize(row)) f(row[token]);
  };
  const std::set<std::int32_t> answer(c.output.begin(), c.output.end());
  std::set<std::int32_t> all = answer;
  all.insert(c.prompt.begin(), c.prompt.end());
  const auto penalty = static_cast<float>(p.repetition_penalty);
  for (const std::int32_t token : all) {
    set(token, [&](float& x) { x = x > 0 ? x / penalty : x * penalty; });
  }
  for (const std::int32_t token : answer) {
    const auto times = static_cast<double>(std::count(c.output.begin(), c.output.end(), token));
    set(token, [&](float& x) {
      x -= static_cast<float>(p.presence_penalty + p.frequency_penalty * times);
    });
  }
  for (const auto& [token, bias] : p.logit_bias) {
    set(token, [&](float& x) { x += static_cast<float>(bias); });
  }
  if (std::ssize(c.output) < p.min_tokens) {
    std::vector<std::int32_t> ruled_out = p.stop_token_ids;
    if (!p.ignore_eos) ruled_out.insert(ruled_out.end(), c.end_ids.begin(), c.end_ids.end());
    for (const std::int32_t token : ruled_out) set(token, [](float& x) { x = -INFINITY; });
  }
  for (std::size_t i = 0; p.constraint != nullptr && i < row.size(); ++i) {
    const std::uint32_t bits = i / 32 < c.allowed.size() ? c.allowed[i / 32] : 0;
    if ((bits >> i % 32 & 1) == 0) row[i] = -INFINITY;
  }
  return row;
}

// Step 3.
inline std::vector<std::int32_t> Sorted(const std::vector<float>& row) {
  std::vector<std::int32_t> order(row.size());
  for (std::size_t i = 0; i < row.size(); ++i) order[i] = static_cast<std::int32_t>(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return row[a] > row[b]; });
  return order;
}

// Steps 4 to 6. A shift of -1 to 1 times the rounding is put on the boundary of top-p and of min-p.
class Reference {
 public:
  Reference(const Case& c, std::vector<float> row)
      : params_(c.params), row_(std::move(row)), order_(Sorted(row_)) {
    if (params_.temperature == 0.0) return;
    for (const std::int32_t token : order_) {
      const double weight = std::exp((double{row_[token]} - row_[order_[0]]) / params_.temperature);
      if (weight < 0x1p-126 || row_[token] == -INFINITY) break;
      weights_.push_back(weight);
    }
  }

  std::int32_t Token(double u, int share_shift, int min_shift) const {
    if (row_[order_[0]] == -INFINITY) return 0;
    if (params_.temperature == 0.0) return order_[0];
    std::size_t kept = weights_.size();
    if (params_.top_k > 0) kept = std::min<std::size_t>(kept, params_.top_k);
    if (params_.top_p < 1.0) {
      const double goal = params_.top_p * Sum(kept) * (1 + share_shift * kRounding);
      double share = 0;
      std::size_t n = 0;
      while (n < kept && (n == 0 || share < goal)) share += weights_[n++];
      kept = n;
    }
    const double least = params_.min_p * (1 + min_shift * kRounding);
    while (kept > 1 && weights_[kept - 1] < least) --kept;
    std::vector<std::pair<std::int32_t, double>> by_id;
    for (std::size_t i = 0; i < kept; ++i) by_id.emplace_back(order_[i], weights_[i]);
    std::sort(by_id.begin(), by_id.end());
    double place = u * Sum(kept);
    for (const auto& [token, weight] : by_id) {
      place -= weight;
      if (place < 0) return token;
    }
    return by_id.back().first;
  }

 private:
  double Sum(std::size_t kept) const {
    double sum = 0;
    for (std::size_t i = 0; i < kept; ++i) sum += weights_[i];
    return sum;
  }

  const SamplingParams& params_;
  const std::vector<float> row_;
  const std::vector<std::int32_t> order_;
  std::vector<double> weights_;  // in that order, without those that are 0
};

inline bool IsWithinRounding(const Reference& reference, double u, std::int32_t token) {
  for (const int share : {0, -1, 1}) {
    for (const int min : {0, -1, 1}) {
      for (const int draw : {0, -1, 1}) {
        const double near = std::clamp(u + draw * kRounding, 0.0, 1.0);
        if (reference.Token(near, share, min) == token) return true;
      }
    }
  }
  return false;
}

// Step 7.
inline void CheckLogprobs(const Case& c, const SampledToken& token) {
  const std::vector<std::int32_t> order = Sorted(c.row);
  double sum = 0;
  for (const float x : c.row) sum += std::exp(double{x} - c.row[order[0]]);
  const auto logprob = [&](std::int32_t i) { return c.row[i] - c.row[order[0]] - std::log(sum); };
  ASSERT_NEAR(token.logprob, logprob(token.token), 1e-4);
  ASSERT_EQ(token.top.size(), std::min<std::size_t>(c.params.top_logprobs, c.row.size()));
  for (std::size_t i = 0; i < token.top.size(); ++i) {
    ASSERT_EQ(token.top[i].token, order[i]);
    ASSERT_NEAR(token.top[i].logprob, logprob(order[i]), 1e-4);
  }
}

// Whether the token is the reference's own, and not only within rounding, which it has to be. Where
// the form leaves none it has to be an error.
inline bool IsAsTheContractSays(const Case& c, const absl::StatusOr<SampledToken>& sampled,
                                double uniform) {
  const std::vector<float> row = Processed(c);
  if (c.params.constraint != nullptr && *std::max_element(row.begin(), row.end()) == -INFINITY) {
    EXPECT_EQ(sampled.status().code(), absl::StatusCode::kInvalidArgument) << sampled.status();
    return true;
  }
  EXPECT_TRUE(sampled.ok()) << sampled.status();
  if (!sampled.ok()) return false;
  const SampledToken& token = *sampled;
  const Reference reference(c, row);
  if (c.params.top_logprobs >= 0) CheckLogprobs(c, token);
  if (reference.Token(uniform, 0, 0) == token.token) return true;
  EXPECT_TRUE(IsWithinRounding(reference, uniform, token.token))
      << token.token << " instead of " << reference.Token(uniform, 0, 0) << " of " << c.row.size()
      << ", temperature " << c.params.temperature << ", top_k " << c.params.top_k << ", top_p "
      << c.params.top_p << ", min_p " << c.params.min_p;
  return false;
}

}  // namespace llava::model

#endif  // LLAVA_TESTS_PROPERTY_SAMPLING_CASES_H_
