#include "server/observe/exemplars.h"

#include <algorithm>
#include <utility>

namespace llava::observe {

Exemplars::Exemplars(std::string family, prometheus::Histogram::BucketBoundaries bounds)
    : family_(std::move(family)), bounds_(std::move(bounds)), latest_(bounds_.size() + 1) {}

// A bucket holds what is at most its bound.
void Exemplars::Note(Exemplar exemplar) {
  const auto bucket =
      std::lower_bound(bounds_.begin(), bounds_.end(), exemplar.value) - bounds_.begin();
  const MutexLock lock(&mutex_);
  latest_[static_cast<std::size_t>(bucket)] = std::move(exemplar);
}

std::vector<std::optional<Exemplar>> Exemplars::Latest() const {
  const MutexLock lock(&mutex_);
  return latest_;
}

}  // namespace llava::observe
