// Which models are trained, and on what. More are served: those whose losses and gradients nobody
// has compared with the reference are not trained, because what is wrong there would be learnt
// silently.
#ifndef LLAVA_TRAINING_DATA_TRAINABLE_H_
#define LLAVA_TRAINING_DATA_TRAINABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/config/config.h"
#include "training/data/conversation_builder.h"
#include "training/data/instruction_dataset.h"

namespace llava::training {

// kUnimplemented unless the checkpoint in `folder` can be trained and evaluated: any architecture
// with a Llama, Mistral, Qwen2 or Phi-3 decoder. The message says what it is and what is supported.
absl::Status CheckTrainable(const model::LlavaConfig& config, const std::string& folder);

// INVALID_ARGUMENT: no row of `data` has a label that `builder` does not mask, so that every step
// would have a loss of 0. Reads rows up to the first that has one. Rows that cannot be built are
// bad, of which others tell; pictures are read where their size decides how many tokens they have.
absl::Status CheckTeaches(const InstructionDataset& data, const ConversationBuilder& builder);

// The same of some of its rows, of which there is at least one.
absl::Status CheckTeaches(const InstructionDataset& data, const std::vector<std::int64_t>& rows,
                          const ConversationBuilder& builder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_TRAINABLE_H_
