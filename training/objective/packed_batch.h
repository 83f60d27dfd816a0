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

// T tokens, R tokens with a target, P image rows, I different images. int64.
struct PackedBatch {
  at::Tensor ids_T;
  at::Tensor positions_T;
  at::Tensor lengths_T;     // fp32, CPU: the tokens of the sample that each token was taken from
  at::Tensor label_rows_R;  // places in T
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
