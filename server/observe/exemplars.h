// For each bucket of a histogram the last request in it whose trace a collector has: from a slow
// point of a dashboard to what happened there.
#ifndef LLAVA_SERVER_OBSERVE_EXEMPLARS_H_
#define LLAVA_SERVER_OBSERVE_EXEMPLARS_H_

#include <prometheus/histogram.h>

#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"

namespace llava::observe {

struct Exemplar {
  double value = 0;         // what was observed
  std::string trace_id;     // 32 hex digits
  double unix_seconds = 0;  // when
};

// Thread-safe. Memory is one exemplar a bucket.
class Exemplars {
 public:
  // `bounds`: those of the histogram `family`, ascending.
  Exemplars(std::string family, prometheus::Histogram::BucketBoundaries bounds);

  void Note(Exemplar exemplar);

  // One place for each bound and one for what is above all; empty where nothing was noted.
  std::vector<std::optional<Exemplar>> Latest() const;

  const std::string& family() const { return family_; }

 private:
  const std::string family_;
  const prometheus::Histogram::BucketBoundaries bounds_;
  mutable Mutex mutex_;
  std::vector<std::optional<Exemplar>> latest_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llava::observe

#endif  // LLAVA_SERVER_OBSERVE_EXEMPLARS_H_
