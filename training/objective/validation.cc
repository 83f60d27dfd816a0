#include "training/objective/validation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/item.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "training/data/prefetcher.h"

namespace llava::training {
namespace {

// Rows rank, rank + ranks, ... in batches.
std::vector<std::vector<std::int64_t>> BatchesOf(const std::vector<std::int64_t>& rows,
                                                 const ValidationPlan& plan) {
  std::vector<std::vector<std::int64_t>> batches;
  for (std::int64_t i = plan.rank; i < std::ssize(rows); i += plan.ranks) {
    if (batches.empty() || std::ssize(batches.back()) == plan.batch) batches.emplace_back();
    batches.back().push_back(rows[i]);
  }
  return batches;
}

}  // namespace

ConversationValidation::ConversationValidation(const model::Llava& model, ValidationRows rows,
                                               const ValidationPlan& plan)
    : rows_(std::move(rows)),
      plan_(plan),
      batches_(BatchesOf(rows_.rows, plan)),
      objective_(
          model, [this] { return prefetcher_->Next(); }, 0, plan.tower_is_frozen,
          plan.cache_bytes) {}

absl::StatusOr<ValidationSums> ConversationValidation::Run(const std::function<bool()>& stop) {
  const at::NoGradGuard no_grad;
  PrefetcherOptions options;
  options.workers = static_cast<int>(plan_.workers);
  options.ahead = 2 * options.workers;
  prefetcher_ = std::make_unique<Prefetcher>(
      *rows_.dataset, *rows_.builder,
      [this](std::int64_t n) -> std::optional<std::vector<std::int64_t>> {
        if (n >= std::ssize(batches_)) return std::nullopt;
        return batches_[n];
      },
      options);
  ValidationSums sums;
  for (std::size_t i = 0; i < batches_.size() && !sums.stopped; ++i) {
    ASSIGN_OR_RETURN(const Pass pass, objective_.Next());
    if (pass.loss_sum.defined()) sums.loss += pass.loss_sum.item<double>();
    sums.targets += pass.targets;
    sums.correct += pass.correct;
    sums.rows += pass.stats.samples;
    sums.stopped = stop();
  }
  prefetcher_.reset();
  return sums;
}

}  // namespace llava::training
