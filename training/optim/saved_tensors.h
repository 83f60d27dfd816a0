// The tensors of a saved state: weights of the model, and what the stage that was running has
// beside them (adapters, a head, the optimizer's state), told apart by the beginnings of their
// names.
#ifndef LLAVA_TRAINING_OPTIM_SAVED_TENSORS_H_
#define LLAVA_TRAINING_OPTIM_SAVED_TENSORS_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "model/network/llava.h"
#include "model/tensors/named_tensor.h"
#include "training/recipe/recipe.h"

namespace llava::training {

inline constexpr char kWeightPrefix[] = "weight/";
inline constexpr char kStagePrefix[] = "optimizer/";

// The tensors whose names begin with `prefix`, without it.
std::vector<model::NamedTensor> WithPrefix(const std::vector<model::NamedTensor>& saved,
                                           std::string_view prefix);

// Copies saved values into tensors of the same names. DATA_LOSS: one of these has no saved value of
// its shape.
absl::Status CopyInto(const std::vector<model::NamedTensor>& saved,
                      const std::vector<model::NamedTensor>& targets);

// Adds what adapters have learned, by PEFT's names, to the weights of the model that they are of.
// DATA_LOSS: one has another shape.
absl::Status AddAdapters(const std::vector<model::NamedTensor>& adapters,
                         const LoraOptions& options, const model::Llava& model);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OPTIM_SAVED_TENSORS_H_
