// The LoRA adapters of a stage: on the decoder's linear layers, merged into them at its end.
#ifndef LLAVA_TRAINING_OPTIM_ADAPTERS_H_
#define LLAVA_TRAINING_OPTIM_ADAPTERS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/network/llava.h"
#include "model/network/lora.h"
#include "model/tensors/named_tensor.h"
#include "training/recipe/recipe.h"

namespace llava::training {

// Used by the training thread. The model outlives it.
class Adapters {
 public:
  // Attaches an adapter to every decoder layer whose name ends in one of options.targets: A normal
  // with the variance of PEFT's (lora/layer.py: 1 / (3 in)) from the seed and the layer's name, B
  // zero, magnitudes the lengths of the weight's rows.
  Adapters(model::Llava& model, const LoraOptions& options, std::uint64_t seed);

  // "<layer>.lora_A.weight", "<layer>.lora_B.weight" and with use_dora
  // "<layer>.lora_magnitude_vector", as PEFT names them.
  const std::vector<model::NamedTensor>& parameters() const { return parameters_; }

  // Before a forward pass: the same seed drops the same inputs.
  void BeginPass(std::uint64_t seed);

  // Whether forward passes are there to learn from, as they are at first. Others drop no inputs,
  // and until then neither weights nor adapters change: lengths are measured once.
  void set_learning(bool learning);

  // Adds what was learned to the weights, but for those that are codes, and takes the adapters off.
  void Merge();

 private:
  model::Llava& model_;
  std::vector<std::string> layers_;
  std::vector<at::Tensor> weights_;  // of the layers; of codes undefined
  const double dropout_;
  std::vector<std::shared_ptr<model::Lora>> loras_;
  std::vector<model::NamedTensor> parameters_;
};

// Whether the layer (or its weight) of that name is one of the targets: those are layers of the
// decoder. A qkv_proj is one where q_proj, k_proj and v_proj all are, a gate_up_proj with its two.
bool IsTarget(const std::string& name, const LoraOptions& options);

// INVALID_ARGUMENT names a target that is no layer of the model, and what the model has.
absl::Status CheckTargets(model::Llava& model, const LoraOptions& options);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OPTIM_ADAPTERS_H_
