#include "model/network/sampler.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/check.h"
#include "base/rng.h"
#include "model/kernels/cpu/worker_pool.h"

namespace llava::model {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNever = -kInfinity;
constexpr float kLeastWeight = std::numeric_limits<float>::min();  // 2^-126
constexpr double kLeastGoal = std::numeric_limits<double>::min();  // one token

// So many tokens are sorted rather than looked for by another pass over the row.
constexpr std::int64_t kFew = 128;

// The least float that is not below x, which is in [0, 1].
float RoundUp(double x) {
  const auto rounded = static_cast<float>(x);
  return rounded < x ? std::nextafter(rounded, kInfinity) : rounded;
}

}  // namespace

absl::Status NotANumber() {
  return absl::InternalError("the model computed a logit that is not a finite number");
}

absl::Status NoTokenLeft() {
  return absl::InvalidArgumentError(
      "no token can come next: the form that the answer has to have leaves none, or takes more "
      "work than one token may");
}

// Seeds and steps are hashed apart, so that neighbours share nothing.
double UniformOfDraw(std::uint64_t seed, std::uint64_t step) {
  return Rng(Rng(seed).Next() ^ std::rotl(Rng(~step).Next(), 32)).Uniform();
}

bool Sampler::Likelier(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

absl::StatusOr<SampledToken> Sampler::Sample(std::span<const float> logits,
                                             const SampleContext& context) {
  const auto vocab_size = static_cast<std::int64_t>(logits.size());
  LLAVA_CHECK_GT(vocab_size, 0);
  float top = kernels_.max_of_row(logits.data(), vocab_size);
  if (!std::isfinite(top)) {
    return NotANumber();
  }
  std::span<const float> row = logits;
  if (!context.processors.empty()) {
    row_.assign(logits.begin(), logits.end());
    for (const auto& processor : context.processors) processor->Process(context.tokens, row_);
    row = row_;
    top = kernels_.max_of_row(row.data(), vocab_size);
  }
  SampledToken chosen;
  const SamplingParams& params = *context.params;
  if (top == kNever && params.constraint != nullptr) {
    return NoTokenLeft();
  }
  if (params.temperature > 0.0 && top != kNever) {
    chosen.token =
        Draw(row, params, top, UniformOfDraw(context.seed, context.tokens.output_ids.size()));
  } else {
    chosen.token = static_cast<std::int32_t>(
        kernels_.find_in_row(row.data(), 0, vocab_size, top, std::nextafter(top, kInfinity)));
  }
  if (params.top_logprobs >= 0) AddLogprobs(logits, params.top_logprobs, chosen);
  return chosen;
}

std::int32_t Sampler::Draw(std::span<const float> row, const SamplingParams& params, float top,
                           double uniform) {
  Weigh(row, top, std::numbers::log2e / params.temperature);
  float least = kLeastWeight;
  if (params.top_k > 0 && static_cast<std::size_t>(params.top_k) < row.size()) {
    least = KeepLikeliest(row, {.counts_tokens = true, .amount = double(params.top_k)});
    Cut(least);
  }
  if (params.top_p < 1.0) {
    const double share = std::max(params.top_p * total_, kLeastGoal);
    least = KeepLikeliest(row, {.counts_tokens = false, .amount = share});
  }
  least = std::max(least, RoundUp(params.min_p));
  if (params.top_p < 1.0 || params.min_p > 0.0) Cut(least);
  return TokenAt(uniform * total_);
}

void Sampler::Weigh(std::span<const float> row, float top, double scale) {
  weights_.resize(row.size());
  block_sums_.resize((row.size() + kSumBlock - 1) / kSumBlock);
  // 0 times a scale that is infinite would be no number.
  constexpr double kLargest = std::numeric_limits<float>::max();
  total_ = kernels_.weights_of_row(row.data(), top, static_cast<float>(std::min(scale, kLargest)),
                                   static_cast<std::int64_t>(row.size()), weights_.data(),
                                   block_sums_.data());
}

void Sampler::Cut(float least) {
  total_ = kernels_.cut_row(weights_.data(), least, static_cast<std::int64_t>(weights_.size()),
                            block_sums_.data());
}

// Keeps the likeliest tokens, as many as it takes to reach the goal. Those that are kept are the
// tokens of the weight that is returned or of more: of others of that weight it becomes 0.
float Sampler::KeepLikeliest(std::span<const float> row, Goal goal) {
  const auto vocab_size = static_cast<std::int64_t>(weights_.size());
  Bracket bracket;
  bracket.at_low = goal.counts_tokens ? kernels_.share_of(weights_.data(), kLeastWeight, vocab_size)
                                      : RowShare{total_, vocab_size};
  if (goal.Of(bracket.at_low) <= goal.amount) return kLeastWeight;
  NarrowBySample(goal, bracket);
  Narrow(goal, bracket);
  const auto low = std::bit_cast<float>(bracket.low), above = std::bit_cast<float>(bracket.above);
  const auto next = [&](std::int64_t from) {
    return kernels_.find_in_row(weights_.data(), from, vocab_size, low, above);
  };
  candidates_.clear();
  for (std::int64_t i = next(0); i < vocab_size; i = next(i + 1)) {
    candidates_.push_back({row[i], static_cast<std::int32_t>(i)});
  }
  std::sort(candidates_.begin(), candidates_.end(), Likelier);
  double missing = goal.amount - goal.Of(bracket.at_above);
  for (const Candidate& c : candidates_) {
    float& weight = weights_[static_cast<std::size_t>(c.token)];
    const double part = goal.counts_tokens ? 1.0 : weight;
    if (missing <= 0) weight = 0;
    missing -= part;
  }
  return low;
}

// Looks where the goal would be if all of the row were like a sixteenth of it, and moves both ends
// near to there. What lies below the goal is estimated, for that is many light tokens rather than
// few heavy ones.
void Sampler::NarrowBySample(Goal goal, Bracket& bracket) {
  constexpr std::size_t kPart = kSumBlock / 16;
  if (weights_.size() < 16 * kSumBlock) return;
  sample_.clear();
  for (std::size_t first = 0; first + kPart <= weights_.size(); first += kSumBlock) {
    sample_.insert(sample_.end(), &weights_[first], &weights_[first] + kPart);
  }
  const double part = static_cast<double>(sample_.size()) / static_cast<double>(weights_.size());
  Bracket guess;
  guess.at_low = kernels_.share_of(sample_.data(), kLeastWeight, std::ssize(sample_));
  const double below = (goal.Of(bracket.at_low) - goal.amount) * part;
  Goal of_sample = goal;
  of_sample.amount = std::max(goal.Of(guess.at_low) - below, kLeastGoal);
  while (guess.IsWide(kFew / 4)) Move(sample_, of_sample, (guess.low + guess.above) / 2, guess);
  const std::int32_t margin = (guess.above - guess.low) / 2;
  Move(weights_, goal, guess.low - margin, bracket);
  Move(weights_, goal, guess.above + margin, bracket);
}

// Narrows until few tokens are left, or those of one weight. Every other step goes to where the
// goal would be if weight were spread evenly over the floats between, the others to the middle.
void Sampler::Narrow(Goal goal, Bracket& bracket) const {
  for (int step = 0; bracket.IsWide(kFew); ++step) {
    const double reached = goal.Of(bracket.at_low), missed = goal.Of(bracket.at_above);
    const double place = step % 2 == 0 ? (reached - goal.amount) / (reached - missed) : 0.5;
    const double width = bracket.above - bracket.low - 2;
    Move(weights_, goal, bracket.low + 1 + static_cast<std::int32_t>(place * width), bracket);
  }
}

// Moves one end of the bracket to `middle`, if that lies within.
void Sampler::Move(std::span<const float> weights, Goal goal, std::int32_t middle,
                   Bracket& bracket) const {
  if (middle <= bracket.low || middle >= bracket.above) return;
  const RowShare share =
      kernels_.share_of(weights.data(), std::bit_cast<float>(middle), std::ssize(weights));
  const bool is_reached = goal.Of(share) >= goal.amount;
  (is_reached ? bracket.low : bracket.above) = middle;
  (is_reached ? bracket.at_low : bracket.at_above) = share;
}

// The token at `place` of [0, total_) when tokens lie side by side, each as wide as its weight.
std::int32_t Sampler::TokenAt(double place) const {
  std::size_t block = 0, last_block = 0;
  for (; block < block_sums_.size(); ++block) {
    if (block_sums_[block] == 0.0f) continue;
    last_block = block;
    if (place < block_sums_[block]) break;
    place -= block_sums_[block];
  }
  const std::size_t first = last_block * kSumBlock;
  std::size_t last = first;
  for (std::size_t i = first; i < std::min(first + kSumBlock, weights_.size()); ++i) {
    if (weights_[i] == 0.0f) continue;
    last = i;
    place -= weights_[i];
    if (place < 0) break;
  }
  return static_cast<std::int32_t>(last);
}

// Leaves in candidates_ the `count` first tokens of the row's order, in that order.
void Sampler::FindLargest(std::span<const float> row, std::size_t count) {
  const auto vocab_size = static_cast<std::int64_t>(row.size());
  candidates_.clear();
  float least = kNever;
  const auto next = [&](std::int64_t from) {
    const float more = std::nextafter(least, kInfinity);
    return kernels_.find_in_row(row.data(), from, vocab_size, more, kInfinity);
  };
  for (std::int64_t i = next(0); i < vocab_size; i = next(i + 1)) {
    candidates_.push_back({row[i], static_cast<std::int32_t>(i)});
    std::push_heap(candidates_.begin(), candidates_.end(), Likelier);  // the least in front
    if (candidates_.size() > count) {
      std::pop_heap(candidates_.begin(), candidates_.end(), Likelier);
      candidates_.pop_back();
    }
    if (candidates_.size() == count) least = candidates_.front().logit;
  }
  std::sort_heap(candidates_.begin(), candidates_.end(), Likelier);
}

void Sampler::AddLogprobs(std::span<const float> logits, int top, SampledToken& chosen) {
  const float largest =
      kernels_.max_of_row(logits.data(), static_cast<std::int64_t>(logits.size()));
  Weigh(logits, largest, std::numbers::log2e);
  const double norm = largest + std::log(total_);
  const auto logprob = [&](std::int32_t token) { return static_cast<float>(logits[token] - norm); };
  chosen.logprob = logprob(chosen.token);
  if (top == 0) return;
  FindLargest(logits, static_cast<std::size_t>(top));
  for (const Candidate& c : candidates_) chosen.top.push_back({c.token, logprob(c.token)});
}

std::vector<absl::StatusOr<SampledToken>> BatchSampler::Sample(std::span<const SampleRow> rows) {
  // What sampling reads: a greedy row twice, another about ten times.
  std::size_t bytes = 0;
  for (const SampleRow& row : rows) {
    bytes += (row.context.params->temperature == 0.0 ? 2 : 10) * row.logits.size_bytes();
  }
  while (std::ssize(samplers_) < at::get_num_threads()) samplers_.emplace_back(kernels_);
  std::vector<std::size_t> first;  // of each run of rows that have to be sampled in order
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].draft == kNotSampled) first.push_back(i);
  }
  const std::size_t runs = first.size();
  first.push_back(rows.size());
  std::vector<absl::StatusOr<SampledToken>> tokens(rows.size(), SampledToken{});
  std::atomic<std::size_t> next_sampler = 0;
  ParallelJobs(
      static_cast<std::int64_t>(runs), ThreadsFor(static_cast<std::int64_t>(bytes)),
      [&] { return &samplers_[next_sampler++]; },
      [&](std::int64_t run, Sampler* sampler) {
        for (std::size_t i = first[run]; i < first[run + 1]; ++i) {
          const bool is_wanted = rows[i].draft == kNotSampled ||
                                 (tokens[i - 1].ok() && tokens[i - 1]->token == rows[i].draft);
          tokens[i] = is_wanted ? sampler->Sample(rows[i].logits, rows[i].context) : NotSampled();
        }
      });
  return tokens;
}

// Each takes tens of microseconds and more, so that a thread for each is worth its while.
void ComputeMasks(std::span<const MaskedRow> rows) {
  ParallelJobs(std::ssize(rows), std::ssize(rows), [&](std::int64_t i) {
    const MaskedRow& row = rows[static_cast<std::size_t>(i)];
    row.processor->Mask(row.tokens, row.left);
  });
}

}  // namespace llava::model
