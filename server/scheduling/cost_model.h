// What steps cost on this device, learned from the measured ones: to refuse a request whose
// deadline cannot be met at all, and to say when to try again.
#ifndef LLAVA_SERVER_SCHEDULING_COST_MODEL_H_
#define LLAVA_SERVER_SCHEDULING_COST_MODEL_H_

#include <cstdint>

#include "base/clock.h"

namespace llava::scheduling {

// Work that has to be done before an event.
struct Work {
  std::int64_t prompt_tokens = 0;
  std::int64_t images = 0;
  std::int64_t decode_steps = 0;
};

// Engine thread only. Smoothed averages; before the first measurement everything is free.
class CostModel {
 public:
  void StepDone(int prompt_tokens, int decodes, int images, Duration encode, Duration forward);

  // A lower bound for the time that `work` takes.
  Duration Estimate(const Work& work) const;

 private:
  double seconds_per_image_ = 0;
  double seconds_per_prompt_token_ = 0;  // of steps with prompt chunks
  double seconds_per_decode_ = 0;        // of a whole step without prompt chunks
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_COST_MODEL_H_
