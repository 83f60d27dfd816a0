#include "server/scheduling/costs/measurements.h"

#include <algorithm>

#include "base/check.h"

namespace llava::scheduling {

void Measurements::Add(double value) {
  values_[next_] = value;
  next_ = (next_ + 1) % kWindow;
  count_ = std::min(count_ + 1, kWindow);
}

double Measurements::Quantile(double share) const {
  LLAVA_CHECK(share >= 0 && share <= 1);
  if (count_ == 0) return 0;
  std::array<double, kWindow> sorted = values_;
  const auto place = static_cast<std::size_t>(share * static_cast<double>(count_ - 1));
  std::nth_element(sorted.begin(), sorted.begin() + place, sorted.begin() + count_);
  return sorted[place];
}

}  // namespace llava::scheduling
