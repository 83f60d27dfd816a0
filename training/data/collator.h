// Lays samples side by side as one flattened batch [tokens], without any padding: attention is
// restricted to each sequence by `sequence_starts`.
#ifndef LLAVA_TRAINING_DATA_COLLATOR_H_
#define LLAVA_TRAINING_DATA_COLLATOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "training/data/sample.h"

namespace llava::training {

// What happened to the rows of a batch; adds up over a run and is printed at its end.
struct BatchStats {
  std::int64_t samples = 0;       // in the batch
  std::int64_t tokens = 0;        // positions, images included
  std::int64_t label_tokens = 0;  // positions with a target: the denominator of the loss
  std::int64_t image_tokens = 0;  // positions that are image features
  std::int64_t truncated = 0;     // samples that lost tokens to the maximal length
  std::int64_t masked = 0;        // samples left out because every label was masked
  std::int64_t bad = 0;           // rows left out because they could not be read or decoded
  std::int64_t padding = 0;       // positions that attention computes beside `tokens`

  BatchStats& operator+=(const BatchStats& other);
  bool operator==(const BatchStats&) const = default;
};

// T = tokens of all samples, S = samples, I = images.
struct Batch {
  std::vector<std::int32_t> ids;              // [T]
  std::vector<std::int32_t> targets;          // [T]: the id that position t must predict (the label
                                              // of t + 1 in the same sample), or kIgnoreLabel
  std::vector<std::int32_t> positions;        // [T]: 0, 1, ... anew in each sample
  std::vector<std::int32_t> sequence_starts;  // [S + 1]: sample s is [starts[s], starts[s + 1])
  std::vector<ImageSpan> image_spans;         // offsets into [T], images into `images`
  std::vector<SampleImage> images;            // [I]
  std::vector<std::string> sample_ids;        // [S], for messages
  BatchStats stats;

  bool empty() const { return ids.empty(); }
};

// Samples without labels are left out and counted in stats.masked.
Batch Collate(std::vector<Sample> samples);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_COLLATOR_H_
