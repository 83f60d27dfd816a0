#include "model/network/logits_processor.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "model/grammar/token_constraint.h"

namespace llava::model {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// One that can say what it does as a list.
class ListedProcessor : public LogitsProcessor {
 public:
  bool List(const ChoiceTokens& tokens, std::vector<LogitChange>& changes) override = 0;

  void Process(const ChoiceTokens& tokens, std::span<float> row_V) final {
    changes_.clear();
    List(tokens, changes_);
    for (const LogitChange& change : changes_) {
      if (change.token < 0 || static_cast<std::size_t>(change.token) >= row_V.size()) continue;
      float& logit = row_V[static_cast<std::size_t>(change.token)];
      logit = change.Of(logit);
    }
  }

 private:
  std::vector<LogitChange> changes_;
};

// The repetition penalty (Keskar et al., arXiv 1909.05858) of every token of the prompt or the
// answer, then presence and frequency penalties (OpenAI API reference) of those of the answer.
class Penalties final : public ListedProcessor {
 public:
  explicit Penalties(const SamplingParams& params)
      : repetition_(std::max(static_cast<float>(params.repetition_penalty),
                             std::numeric_limits<float>::min())),
        presence_(params.presence_penalty),
        frequency_(params.frequency_penalty) {}

  static bool AreWanted(const SamplingParams& p) {
    return p.repetition_penalty != 1.0 || p.presence_penalty != 0.0 || p.frequency_penalty != 0.0;
  }

  // A penalty that is next to nothing would make a logit infinite, which is none: LogitChange
  // bounds it.
  bool List(const ChoiceTokens& tokens, std::vector<LogitChange>& changes) override {
    Read(tokens);
    for (const auto& [token, times] : times_in_answer_) {
      const double of_answer = times > 0 ? presence_ + frequency_ * times : 0.0;
      changes.push_back(
          {.token = token, .penalty = repetition_, .minus = static_cast<float>(of_answer)});
    }
    return true;
  }

 private:
  // Counts the tokens that were not there at the last call.
  void Read(const ChoiceTokens& tokens) {
    if (!has_read_prompt_) {
      for (const std::int32_t token : tokens.prompt_ids) times_in_answer_.try_emplace(token, 0);
      has_read_prompt_ = true;
    }
    LLAVA_CHECK_LE(outputs_read_, tokens.output_ids.size());
    for (const std::int32_t token : tokens.output_ids.subspan(outputs_read_)) {
      ++times_in_answer_[token];
    }
    outputs_read_ = tokens.output_ids.size();
  }

  const float repetition_;
  const double presence_;
  const double frequency_;
  bool has_read_prompt_ = false;
  std::size_t outputs_read_ = 0;
  // By token of the prompt or the answer. Each token's logit changes by itself, so that the order
  // does not matter.
  std::unordered_map<std::int32_t, std::int32_t> times_in_answer_;
};

class LogitBias final : public ListedProcessor {
 public:
  explicit LogitBias(const SamplingParams& params)
      : bias_of_token_(params.logit_bias.begin(), params.logit_bias.end()) {}

  bool List(const ChoiceTokens&, std::vector<LogitChange>& changes) override {
    for (const auto& [token, bias] : bias_of_token_) {
      changes.push_back({.token = token, .plus = static_cast<float>(bias)});
    }
    return true;
  }

 private:
  const std::vector<std::pair<std::int32_t, double>> bias_of_token_;
};

// Rules out what ends an answer until it has min_tokens tokens.
class MinTokens final : public ListedProcessor {
 public:
  MinTokens(const SamplingParams& params, std::span<const std::int32_t> end_ids)
      : min_tokens_(static_cast<std::size_t>(params.min_tokens)),
        ruled_out_(params.stop_token_ids.begin(), params.stop_token_ids.end()) {
    if (!params.ignore_eos) ruled_out_.insert(ruled_out_.end(), end_ids.begin(), end_ids.end());
  }

  bool List(const ChoiceTokens& tokens, std::vector<LogitChange>& changes) override {
    if (tokens.output_ids.size() >= min_tokens_) return true;
    for (const std::int32_t token : ruled_out_) {
      changes.push_back({.token = token, .plus = kNever});
    }
    return true;
  }

 private:
  const std::size_t min_tokens_;
  std::vector<std::int32_t> ruled_out_;
};

// Rules out what the answer's form does not allow.
class Form final : public LogitsProcessor {
 public:
  Form(const TokenConstraint& constraint, std::uint64_t seed)
      : answer_(constraint.BeginChoice(seed)) {}

  void Process(const ChoiceTokens& tokens, std::span<float> row_V) override {
    RuleOut(Allowed(tokens), row_V);
  }

  bool IsMask() const override { return true; }

  void Mask(const ChoiceTokens& tokens, std::span<std::uint32_t> left) override {
    const std::span<const std::uint32_t> allowed = Allowed(tokens);
    const std::size_t words = std::min(allowed.size(), left.size());
    std::fill(std::copy_n(allowed.begin(), words, left.begin()), left.end(), 0);
  }

 private:
  // As ConstrainedAnswer says it; nothing where no token can come next. Valid until the next call.
  std::span<const std::uint32_t> Allowed(const ChoiceTokens& tokens) {
    LLAVA_CHECK_LE(outputs_read_, tokens.output_ids.size());
    for (const std::int32_t token : tokens.output_ids.subspan(outputs_read_)) {
      if (is_lost_ || !answer_->Append(token).ok()) is_lost_ = true;
    }
    outputs_read_ = tokens.output_ids.size();
    if (is_lost_) return {};
    const auto allowed = answer_->Allowed();
    is_lost_ = !allowed.ok();
    return is_lost_ ? std::span<const std::uint32_t>() : *allowed;
  }

  static void RuleOut(std::span<const std::uint32_t> allowed, std::span<float> row_V) {
    constexpr std::size_t kBits = 32;
    for (std::size_t first = 0; first < row_V.size(); first += kBits) {
      const std::span<float> part = row_V.subspan(first, std::min(kBits, row_V.size() - first));
      const std::uint32_t word = first / kBits < allowed.size() ? allowed[first / kBits] : 0;
      if (word == 0) std::fill(part.begin(), part.end(), kNever);
      if (word == 0 || word == ~std::uint32_t{0}) continue;
      for (std::size_t i = 0; i < part.size(); ++i) {
        if ((word >> i & 1) == 0) part[i] = kNever;
      }
    }
  }

  const std::unique_ptr<ConstrainedAnswer> answer_;
  std::size_t outputs_read_ = 0;
  bool is_lost_ = false;  // nothing can go on from here
};

}  // namespace

LogitsProcessors MakeLogitsProcessors(const SamplingParams& params,
                                      std::span<const std::int32_t> end_ids, std::uint64_t seed) {
  LogitsProcessors processors;
  if (Penalties::AreWanted(params)) processors.push_back(std::make_unique<Penalties>(params));
  if (!params.logit_bias.empty()) processors.push_back(std::make_unique<LogitBias>(params));
  if (params.min_tokens > 0) processors.push_back(std::make_unique<MinTokens>(params, end_ids));
  if (params.constraint != nullptr) {
    processors.push_back(std::make_unique<Form>(*params.constraint, seed));
  }
  return processors;
}

}  // namespace llava::model
