#include "server/scheduling/costs/step_times.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace llava::scheduling {
namespace {

// Half of the measurements were lower. The last one counts by itself when it was higher: a
// neighbour that has just begun to compute slows the next step too.
double Typical(const Measurements& measured, double last) {
  return std::max(measured.Quantile(0.5), last);
}

// The normal equations of a fit: of counts a and measured times t, each weighed by 1 / t, sums of
// a a' and a t.
template <std::size_t kCosts>
struct Equations {
  std::array<std::array<double, kCosts>, kCosts> products{};
  std::array<double, kCosts> sums{};

  void Add(const std::array<double, kCosts>& counts, double seconds) {
    for (std::size_t i = 0; i < kCosts; ++i) {
      const double weighed = counts[i] / (seconds * seconds);
      for (std::size_t j = 0; j < kCosts; ++j) products[i][j] += weighed * counts[j];
      sums[i] += weighed * seconds;
    }
  }

  // The costs of the kinds in `used` (a set of bits), the others being 0, and by how much they
  // leave a smaller error than none. False when one is negative.
  bool Solve(unsigned used, std::array<double, kCosts>* costs, double* gain) const {
    // Cholesky's factor, of the products scaled to a diagonal of 1. What two kinds cannot be told
    // apart by is split between them.
    constexpr double kAlmostNothing = 1e-9;
    std::array<std::array<double, kCosts>, kCosts> factor{};
    std::array<double, kCosts> x{};
    const auto is_used = [&](std::size_t i) { return (used >> i & 1) != 0 && products[i][i] > 0; };
    const auto scaled = [&](std::size_t i) { return 1 / std::sqrt(products[i][i]); };
    for (std::size_t i = 0; i < kCosts; ++i) {
      if (!is_used(i)) continue;
      x[i] = sums[i] * scaled(i);
      for (std::size_t j = 0; j <= i; ++j) {
        if (!is_used(j)) continue;
        double sum = products[i][j] * scaled(i) * scaled(j) + (i == j ? kAlmostNothing : 0);
        for (std::size_t k = 0; k < j; ++k) sum -= factor[i][k] * factor[j][k];
        factor[i][j] = i == j ? std::sqrt(std::max(sum, kAlmostNothing)) : sum / factor[j][j];
      }
      for (std::size_t k = 0; k < i; ++k) x[i] -= factor[i][k] * x[k];
      x[i] /= factor[i][i];
    }
    *gain = 0;
    costs->fill(0);
    for (std::size_t i = kCosts; i-- > 0;) {
      if (!is_used(i)) continue;
      for (std::size_t k = i + 1; k < kCosts; ++k) {
        if (is_used(k)) x[i] -= factor[k][i] * x[k];
      }
      x[i] /= factor[i][i];
      if (x[i] < 0) return false;
      (*costs)[i] = x[i] * scaled(i);
      *gain += (*costs)[i] * sums[i];
    }
    return true;
  }
};

}  // namespace

void StepTimes::Window::Add(const Step& step) {
  steps[next] = step;
  next = (next + 1) % steps.size();
  count = std::min(count + 1, steps.size());
}

void StepTimes::Forwarded(const StepShape& shape, int prompt_tokens, Duration forward) {
  if (shape.rows == 0 || forward <= Duration(0)) return;
  Window& window = prompt_tokens > 0 ? prompts_ : decodes_;
  window.Add({.counts = {1, static_cast<double>(shape.rows), static_cast<double>(shape.keys)},
              .seconds = Seconds(forward),
              .prompt_tokens = prompt_tokens});
  fitted_ = false;
}

void StepTimes::Encoded(std::int64_t parts, Duration encode) {
  if (parts == 0) return;
  const double each = Seconds(encode) / static_cast<double>(parts);
  parts_.Add(each);
  part_ = Typical(parts_, each);
}

double StepTimes::Unscaled(const std::array<double, kCosts>& counts) const {
  double seconds = 0;
  for (std::size_t i = 0; i < kCosts; ++i) seconds += costs_[i] * counts[i];
  return seconds;
}

// The costs, none below 0, with the smallest sum of squared relative errors: the best of the fits
// that leave out some of them.
void StepTimes::Fit() {
  if (fitted_) return;
  fitted_ = true;
  Equations<kCosts> equations;
  for (const Window* window : {&prompts_, &decodes_}) {
    for (std::size_t i = 0; i < window->count; ++i) {
      equations.Add(window->steps[i].counts, window->steps[i].seconds);
    }
  }
  double best = -1;
  for (unsigned used = (1u << kCosts) - 1; used > 0; --used) {
    std::array<double, kCosts> costs{};
    double gain = 0;
    if (!equations.Solve(used, &costs, &gain) || gain <= best) continue;
    best = gain;
    costs_ = costs;
  }
  Measurements ratios;
  double last = 1;
  scale_ = 1;
  most_tokens_ = 0;
  for (std::size_t i = 0; i < prompts_.count; ++i) {
    // From the oldest to the newest.
    const std::size_t place =
        (prompts_.next + prompts_.steps.size() - prompts_.count + i) % prompts_.steps.size();
    const Step& step = prompts_.steps[place];
    last = step.seconds / Unscaled(step.counts);
    ratios.Add(last);
    most_tokens_ = std::max(most_tokens_, step.prompt_tokens);
  }
  if (prompts_.count > 0) scale_ = Typical(ratios, last);
}

double StepTimes::Forward(const StepShape& shape) {
  Fit();
  return scale_ * Unscaled({1, static_cast<double>(shape.rows), static_cast<double>(shape.keys)});
}

int StepTimes::PromptTokens(int start, double seconds) {
  if (seconds <= 0) return 0;
  Fit();
  // n tokens: n rows, and n start + n (n + 1) / 2 keys.
  const double key = scale_ * costs_[2];
  const double first = scale_ * costs_[1] + key * (start + 0.5);
  const double root = first + std::sqrt(first * first + 2 * key * seconds);
  const int most = std::max(kFirstTokens, 2 * most_tokens_);
  return root > 0 ? static_cast<int>(std::min<double>(most, 2 * seconds / root)) : most;
}

std::int64_t StepTimes::Parts(double seconds) const {
  if (parts_.count() == 0 || part_ <= 0) return 1;
  constexpr double kMost = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int64_t>(std::clamp(seconds / part_, 0.0, kMost));
}

}  // namespace llava::scheduling
