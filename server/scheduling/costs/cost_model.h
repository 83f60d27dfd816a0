// What steps cost on this device, learned from the measured ones: to refuse a request whose
// deadline cannot be met at all, and to say when to try again.
//
// A refused request runs no step, and so corrects nothing. What is believed here must therefore
// heal by itself: a measurement that does not fit the others is not believed at all (a low quantile
// of the last ones, not their mean), and what is not measured again is believed less and less.
// Besides, the scheduler refuses nobody while the device is idle.
#ifndef LLAVA_SERVER_SCHEDULING_COSTS_COST_MODEL_H_
#define LLAVA_SERVER_SCHEDULING_COSTS_COST_MODEL_H_

#include <cstdint>

#include "base/clock.h"
#include "server/scheduling/costs/measurements.h"

namespace llava::scheduling {

// Work that has to be done before an event.
struct Work {
  std::int64_t prompt_tokens = 0;
  std::int64_t images = 0;
  std::int64_t decode_steps = 0;
};

// Engine thread only. Before kMinMeasurements of a kind of work, that kind is free.
class CostModel {
 public:
  // Fewer may all be odd ones: the first steps of a process are slow, and so is one that was
  // stopped. Of three the quantile takes the smallest.
  static constexpr std::size_t kMinMeasurements = 3;
  // Without new measurements half of the estimate is left after so long. Steps that run measure
  // many times in it; after a machine stood still and believes a hundred times too much, a minute
  // of this is enough.
  static constexpr Duration kHalfLife = std::chrono::seconds(10);

  // A step that ended at `now`. `prompt_tokens`: of its prompt chunks. `images`: tiles that it
  // encoded; of one that goes through some of the layers, that share. `encode`: all of them.
  void StepDone(int prompt_tokens, int decodes, double images, Duration encode, Duration forward,
                TimePoint now);

  // A lower bound for the time that `work` takes, as it is believed at `now`. REQUIRES: `now` is
  // not before the last StepDone.
  Duration Estimate(const Work& work, TimePoint now) const;

 private:
  // Seconds of one unit of work.
  struct Cost {
    Measurements seconds;
    TimePoint last{};  // when it was measured
    void Add(double measured, TimePoint now);
    double At(TimePoint now) const;
  };

  Cost image_;
  Cost prompt_token_;  // of steps with prompt chunks
  Cost decode_;        // of a whole step without prompt chunks
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_COSTS_COST_MODEL_H_
