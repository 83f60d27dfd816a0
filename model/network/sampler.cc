#include "model/network/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/check.h"
#include "base/rng.h"

namespace llava::model {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// The draw of one step: seeds and steps are hashed apart, so that neighbours share nothing.
double UniformOf(std::uint64_t seed, std::uint64_t step) {
  return Rng(Rng(seed).Next() ^ std::rotl(Rng(~step).Next(), 32)).Uniform();
}

}  // namespace

bool Sampler::Likelier(const Candidate& a, const Candidate& b) {
  return a.weight > b.weight || (a.weight == b.weight && a.token < b.token);
}

absl::StatusOr<SampledToken> Sampler::Sample(std::span<const float> logits,
                                             const SampleContext& context) {
  const auto vocab_size = static_cast<std::int64_t>(logits.size());
  LLAVA_CHECK_GT(vocab_size, 0);
  if (!std::isfinite(kernels_.max_of_row(logits.data(), vocab_size))) {
    return absl::InternalError("the model computed a logit that is not a finite number");
  }
  row_.assign(logits.begin(), logits.end());
  for (const auto& processor : context.processors) processor->Process(context.tokens, row_);
  SampledToken chosen;
  const SamplingParams& params = *context.params;
  const float top = kernels_.max_of_row(row_.data(), vocab_size);
  if (top == kNever && params.constraint != nullptr) {
    return absl::InvalidArgumentError(
        "no token can come next: the form that the answer has to have leaves none, or takes more "
        "work than one token may");
  }
  if (params.temperature == 0.0) {
    chosen.token =
        static_cast<std::int32_t>(std::find(row_.begin(), row_.end(), top) - row_.begin());
  } else {
    chosen.token = Draw(params, top, UniformOf(context.seed, context.tokens.output_ids.size()));
  }
  if (params.top_logprobs >= 0) AddLogprobs(logits, params.top_logprobs, chosen);
  return chosen;
}

std::int32_t Sampler::Draw(const SamplingParams& params, float top, double uniform) {
  const auto vocab_size = static_cast<std::int64_t>(row_.size());
  weights_.resize(row_.size());
  if (top == kNever) return 0;  // every token is ruled out
  const double total = kernels_.weights_of_row(
      row_.data(), top, static_cast<float>(std::numbers::log2e / params.temperature), vocab_size,
      weights_.data());
  if (params.top_k > 0 || params.top_p < 1.0 || params.min_p > 0.0) {
    KeepLikeliest(params, total);
    return DrawFrom(candidates_, uniform);
  }
  double left = uniform * total;
  std::int32_t last = 0;
  for (std::int32_t token = 0; token < vocab_size; ++token) {
    if (weights_[token] == 0.0f) continue;
    last = token;
    left -= weights_[token];
    if (left < 0) break;
  }
  return last;
}

// Leaves in candidates_ the `count` largest numbers that are above `least`, in no order.
void Sampler::KeepLargest(std::span<const float> row, std::size_t count, float least) {
  candidates_.clear();
  for (std::size_t token = 0; token < row.size(); ++token) {
    if (!(row[token] > least)) continue;
    candidates_.push_back({row[token], static_cast<std::int32_t>(token)});
    std::push_heap(candidates_.begin(), candidates_.end(), Likelier);  // the least in front
    if (candidates_.size() > count) {
      std::pop_heap(candidates_.begin(), candidates_.end(), Likelier);
      candidates_.pop_back();
    }
    if (candidates_.size() == count) least = candidates_.front().weight;
  }
}

// Leaves in candidates_ the tokens to draw from.
void Sampler::KeepLikeliest(const SamplingParams& params, double total) {
  if (params.top_k > 0) {
    KeepLargest(weights_, static_cast<std::size_t>(params.top_k), 0.0f);
    total = 0;  // top-p is a share of what top-k left
    for (const Candidate& c : candidates_) total += c.weight;
  } else {
    // Tokens up to this weight make less than 1 - top_p together, so top-p keeps none of them. The
    // likeliest, whose weight is 1, stays, even of tokens that are all as likely.
    const double negligible =
        std::min(0.5, (1.0 - params.top_p) * total / static_cast<double>(weights_.size()));
    candidates_.clear();
    for (std::size_t token = 0; token < weights_.size(); ++token) {
      if (weights_[token] > negligible) {
        candidates_.push_back({weights_[token], static_cast<std::int32_t>(token)});
      }
    }
  }
  // Take the likeliest off a heap until they have their share or fall below min-p. The first is
  // always taken: top_p 0 is the narrowest nucleus.
  const auto less_likely = [](const Candidate& a, const Candidate& b) { return Likelier(b, a); };
  std::make_heap(candidates_.begin(), candidates_.end(), less_likely);
  auto end = candidates_.end();
  double share = 0;
  while (end != candidates_.begin() && (end == candidates_.end() || share < params.top_p * total)) {
    if (candidates_.front().weight < params.min_p) break;  // the largest weight is 1
    std::pop_heap(candidates_.begin(), end, less_likely);
    share += (--end)->weight;
  }
  candidates_.erase(candidates_.begin(), end);
}

std::int32_t Sampler::DrawFrom(std::span<const Candidate> kept, double uniform) const {
  LLAVA_CHECK(!kept.empty());
  double total = 0;
  for (const Candidate& c : kept) total += c.weight;
  double left = uniform * total;
  for (const Candidate& c : kept) {
    left -= c.weight;
    if (left < 0) return c.token;
  }
  return kept.back().token;
}

void Sampler::AddLogprobs(std::span<const float> logits, int top, SampledToken& chosen) {
  const auto vocab_size = static_cast<std::int64_t>(logits.size());
  weights_.resize(logits.size());
  const float largest = kernels_.max_of_row(logits.data(), vocab_size);
  const double total = kernels_.weights_of_row(logits.data(), largest, std::numbers::log2e_v<float>,
                                               vocab_size, weights_.data());
  const double norm = largest + std::log(total);
  const auto logprob = [&](std::int32_t token) { return static_cast<float>(logits[token] - norm); };
  chosen.logprob = logprob(chosen.token);
  if (top == 0) return;
  KeepLargest(logits, static_cast<std::size_t>(top), kNever);
  std::sort(candidates_.begin(), candidates_.end(), Likelier);
  for (const Candidate& c : candidates_) chosen.top.push_back({c.token, logprob(c.token)});
}

}  // namespace llava::model
