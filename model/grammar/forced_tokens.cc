#include "model/grammar/forced_tokens.h"

#include <cstddef>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"

namespace llava::model {
namespace {

struct Forced {
  TokensOfChoices tokens;
  std::vector<std::int32_t> end_ids;
  std::size_t words = 0;  // of a mask
};

class Answer final : public ConstrainedAnswer {
 public:
  Answer(std::shared_ptr<const Forced> forced, std::uint64_t seed)
      : forced_(std::move(forced)), mask_(forced_->words) {
    const auto found = forced_->tokens.find(seed);
    if (found != forced_->tokens.end()) tokens_ = found->second;
  }

  absl::StatusOr<std::span<const std::uint32_t>> Allowed() override {
    mask_.assign(mask_.size(), 0);
    if (next_ < tokens_.size()) {
      Allow(tokens_[next_]);
    } else {
      for (const std::int32_t id : forced_->end_ids) Allow(id);
    }
    return std::span<const std::uint32_t>(mask_);
  }

  absl::Status Append(std::int32_t token) override {
    if (next_ < tokens_.size() && tokens_[next_] == token) {
      ++next_;
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat("token ", token, " cannot come next"));
  }

 private:
  void Allow(std::int32_t id) {
    mask_[static_cast<std::size_t>(id) / 32] |= std::uint32_t{1} << (id % 32);
  }

  const std::shared_ptr<const Forced> forced_;
  std::span<const std::int32_t> tokens_;
  std::size_t next_ = 0;
  std::vector<std::uint32_t> mask_;
};

class Constraint final : public TokenConstraint {
 public:
  explicit Constraint(Forced forced) : forced_(std::make_shared<const Forced>(std::move(forced))) {}

  std::unique_ptr<ConstrainedAnswer> Begin() const override { return BeginChoice(0); }
  std::unique_ptr<ConstrainedAnswer> BeginChoice(std::uint64_t seed) const override {
    return std::make_unique<Answer>(forced_, seed);
  }

 private:
  const std::shared_ptr<const Forced> forced_;
};

}  // namespace

std::shared_ptr<const TokenConstraint> ForceTokens(TokensOfChoices tokens,
                                                   std::vector<std::int32_t> end_ids,
                                                   int vocab_size) {
  const auto words = (static_cast<std::size_t>(vocab_size) + 31) / 32;
  return std::make_shared<const Constraint>(Forced{std::move(tokens), std::move(end_ids), words});
}

}  // namespace llava::model
