// Money and tokens: what was spent, what is at stake, and whether one more request may be sent.
#ifndef LLAVA_TRAINING_ENDPOINT_BUDGET_H_
#define LLAVA_TRAINING_ENDPOINT_BUDGET_H_

#include <cstdint>
#include <optional>

#include "training/endpoint/endpoint_options.h"

namespace llava::training {

struct TokenCount {
  std::int64_t prompt = 0;
  std::int64_t completion = 0;

  std::int64_t total() const { return prompt + completion; }
};

// Not thread-safe. Invariant: spent and reserved together are within the bounds, unless more was
// spent before this process began.
class Budget {
 public:
  explicit Budget(const EndpointOptions& options);

  double CostOf(const TokenCount& tokens) const;

  // Sets the worst case of a request aside; false when that could exceed a bound.
  bool Reserve(const TokenCount& worst);

  // The request has ended and has cost `spent`.
  void Settle(const TokenCount& worst, const TokenCount& spent);

  // Of earlier runs.
  void AddSpent(const TokenCount& spent);

  std::int64_t tokens() const { return spent_.total(); }
  double cost() const { return CostOf(spent_); }

 private:
  const double input_price_, output_price_;
  const std::optional<double> max_cost_;
  const std::optional<std::int64_t> max_tokens_;
  TokenCount spent_, reserved_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ENDPOINT_BUDGET_H_
