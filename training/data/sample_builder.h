// Turns a row into samples: reads its images, tokenizes, masks the labels, puts one id a feature
// row where an image stands, and truncates.
#ifndef LLAVA_TRAINING_DATA_SAMPLE_BUILDER_H_
#define LLAVA_TRAINING_DATA_SAMPLE_BUILDER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "training/data/row.h"
#include "training/data/sample.h"

namespace llava::training {

// Thread-safe: prefetch workers share one.
class SampleBuilder {
 public:
  virtual ~SampleBuilder() = default;

  // One sample, or several that follow one another: one for each question of the row where the
  // builder splits turns (all show the same images), or where the template repeats an answer in
  // other tokens than those that are learned (the later ones show what was shown before, too).
  // Errors are the row's fault (an image that does not decode, ...); the message names the thing,
  // the caller adds where the row stands.
  virtual absl::StatusOr<std::vector<Sample>> Build(const Row& row) const = 0;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_SAMPLE_BUILDER_H_
