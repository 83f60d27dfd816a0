#include "training/endpoint/budget.h"

namespace llava::training {
namespace {

constexpr double kMillion = 1e6;

TokenCount Sum(const TokenCount& a, const TokenCount& b) {
  return {a.prompt + b.prompt, a.completion + b.completion};
}

}  // namespace

Budget::Budget(const EndpointOptions& options)
    : input_price_(options.input_price),
      output_price_(options.output_price),
      max_cost_(options.max_cost),
      max_tokens_(options.max_tokens_total) {}

double Budget::CostOf(const TokenCount& tokens) const {
  return (static_cast<double>(tokens.prompt) * input_price_ +
          static_cast<double>(tokens.completion) * output_price_) /
         kMillion;
}

bool Budget::Reserve(const TokenCount& worst) {
  const TokenCount all = Sum(Sum(spent_, reserved_), worst);
  if (max_tokens_.has_value() && all.total() > *max_tokens_) return false;
  if (max_cost_.has_value() && CostOf(all) > *max_cost_) return false;
  reserved_ = Sum(reserved_, worst);
  return true;
}

void Budget::Settle(const TokenCount& worst, const TokenCount& spent) {
  reserved_ = Sum(reserved_, {-worst.prompt, -worst.completion});
  AddSpent(spent);
}

void Budget::AddSpent(const TokenCount& spent) { spent_ = Sum(spent_, spent); }

}  // namespace llava::training
