// Rows that are kept from training to be validated with, so that no picture is on both sides.
#ifndef LLAVA_TRAINING_DATA_HOLDOUT_H_
#define LLAVA_TRAINING_DATA_HOLDOUT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "training/data/instruction_dataset.h"

namespace llava::training {

struct HoldOut {
  std::vector<std::int64_t> train;     // in the order of the data
  std::vector<std::int64_t> held_out;  // so too; empty when nothing was asked for
};

// Holds back as many whole groups of rows as fit into `rows`, in an order that `seed` draws. A
// group is what shares pictures, directly or through other rows; a text-only row is one by itself,
// with the rows of the same text. Depends on the rows, their order and the seed alone. Reads every
// row once, unless `rows` is 0. INVALID_ARGUMENT: no group is small enough, or nothing would be
// left to train with.
absl::StatusOr<HoldOut> HoldOutRows(const InstructionDataset& dataset, std::int64_t rows,
                                    std::uint64_t seed);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_HOLDOUT_H_
