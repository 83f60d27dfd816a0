// What a forward pass keeps for its backward pass. The formulas count the tensors that autograd
// saves for the operations of model/network (decoder.cc, vision_tower.cc, projector.cc, lora.cc)
// and of training/objective, one by one; memory_table_test compares them with the bytes of real
// steps.
#ifndef LLAVA_TRAINING_MEMORY_ACTIVATIONS_H_
#define LLAVA_TRAINING_MEMORY_ACTIVATIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/config/config.h"
#include "training/recipe/recipe.h"

namespace llava::training {

// One micro batch of one rank.
struct PassShape {
  std::int64_t rows = 1;    // samples
  std::int64_t tokens = 0;  // of all rows, pictures expanded
  std::int64_t labels = 0;  // tokens that are learned
  std::int64_t tiles = 0;   // of pictures, through the vision tower
};

// A part of the model, as a backward pass meets it.
struct BlockMemory {
  std::string name;
  std::int64_t kept = 0;     // bytes, from the forward pass until the block's gradients are there
  std::int64_t working = 0;  // most beside them while its gradients are computed
};

// In the order of the backward pass: loss, head, the decoder's layers from the last to the first,
// its input with the projector, the tower's layers, its input. Of ObjectiveKind::kPatchLabels only
// the loss, without its scores, and the tower.
std::vector<BlockMemory> ActivationsOf(const model::LlavaConfig& config, const Recipe& recipe,
                                       const StageOptions& stage, const PassShape& pass);

// The place of a parameter's block in that order.
std::size_t BlockOf(const std::string& parameter, const model::LlavaConfig& config,
                    const StageOptions& stage);

// Bytes of the features of one picture's tile, as the cache of a frozen tower keeps them.
std::int64_t TileFeatureBytes(const model::LlavaConfig& config, const Recipe& recipe);

// Of a number of that precision.
std::int64_t ElementBytes(const Recipe& recipe);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_MEMORY_ACTIVATIONS_H_
