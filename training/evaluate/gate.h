// Whether a version may take the place of the one that is served: by shares that it must reach, and
// by a comparison with the live version on the same questions.
#ifndef LLAVA_TRAINING_EVALUATE_GATE_H_
#define LLAVA_TRAINING_EVALUATE_GATE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace llava::training {

struct GateOptions {
  std::map<std::string, double>
      require;               // least shares of right answers by kind, "total" among them
  double min_delta = -0.01;  // the change of the share of right answers that is allowed
  double confidence = 0.95;  // so sure one must be that it is worse than that
};

// How likely it is that the share of right answers changed by less than `min_delta` from `before`
// to `after` (the same questions in the same order, so equally many): a paired bootstrap of 4000
// draws, the same for the same answers. In [0, 1]; 0 without questions.
double ChanceOfLoss(const std::vector<bool>& before, const std::vector<bool>& after,
                    double min_delta);

// A share and its 95 % interval (percentiles of a bootstrap of 4000 draws, the same for the same
// answers). All 0 without questions.
struct Estimate {
  double value = 0.0;
  double low = 0.0;
  double high = 0.0;
};

// Of right answers.
Estimate EstimateShare(const std::vector<bool>& right);

// Of the change of that share from `before` to `after`: the same questions in the same order.
Estimate EstimateChange(const std::vector<bool>& before, const std::vector<bool>& after);

// Why shares do not suffice: "colour is 0.4, required is 0.9"; "" when they do. A kind that nobody
// was asked about does not.
std::string BelowRequired(const GateOptions& options, const std::map<std::string, double>& shares);

// Why `after` is worse than `before`; "" when it is not surely worse than `min_delta` allows.
std::string WorseThanLive(const GateOptions& options, const std::vector<bool>& before,
                          const std::vector<bool>& after);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_GATE_H_
