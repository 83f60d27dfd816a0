// A batch as tensors, with what its samples have in common computed once.
#ifndef LLAVA_TRAINING_OBJECTIVE_PACKED_BATCH_H_
#define LLAVA_TRAINING_OBJECTIVE_PACKED_BATCH_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "model/attention/attention.h"
#include "training/data/collator.h"

namespace llava::training {

// Tokens of one sample that stand one after another.
struct SampleRun {
  std::uint64_t key = 0;    // of the sample's id and tokens: the same wherever it is packed
  std::int64_t first = 0;   // place of the first of them in the sample
  std::int64_t tokens = 0;  // at least 1
  std::int64_t length = 0;  // of the sample

  bool operator==(const SampleRun&) const = default;
};

// T tokens, R tokens with a target, P image rows, I different images. int64.
struct PackedBatch {
  at::Tensor ids_T;
  at::Tensor positions_T;
  std::vector<SampleRun> runs;  // of the T tokens, in their order
  at::Tensor label_rows_R;      // places in T
  at::Tensor targets_R;
  at::Tensor image_rows_P;             // places in T, distinct
  at::Tensor feature_rows_P;           // rows of the I images' features laid one after another
  std::vector<std::int32_t> images_I;  // indices into Batch::images
  std::unique_ptr<model::AttentionBackend> attention;
  std::int64_t padding = 0;  // positions that attention computes beside the T tokens
};

// Consecutive samples that begin alike up to and including the same image become one group whose
// beginning stands once. An image has as many feature rows as its layout has tokens. `device`:
// where the tensors go. REQUIRES: !batch.empty().
PackedBatch Pack(const Batch& batch, at::Device device);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_PACKED_BATCH_H_
