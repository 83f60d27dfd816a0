// Whether rows teach anything.
#ifndef LLAVA_TRAINING_DATA_TRAINABLE_H_
#define LLAVA_TRAINING_DATA_TRAINABLE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "training/data/conversation_builder.h"
#include "training/data/instruction_dataset.h"

namespace llava::training {

// INVALID_ARGUMENT: no row of `data` has a label that `builder` does not mask, so that every step
// would have a loss of 0. Reads rows up to the first that has one. Rows that cannot be built are
// bad, of which others tell; pictures are read where their size decides how many tokens they have.
absl::Status CheckTeaches(const InstructionDataset& data, const ConversationBuilder& builder);

// The same of some of its rows, of which there is at least one.
absl::Status CheckTeaches(const InstructionDataset& data, const std::vector<std::int64_t>& rows,
                          const ConversationBuilder& builder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_TRAINABLE_H_
