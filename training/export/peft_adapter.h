// The adapters of a LoRA stage as a folder that the library PEFT reads.
#ifndef LLAVA_TRAINING_EXPORT_PEFT_ADAPTER_H_
#define LLAVA_TRAINING_EXPORT_PEFT_ADAPTER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/tensors/named_tensor.h"
#include "training/recipe/recipe.h"

namespace llava::training {

struct PeftAdapter {
  std::string base;  // the folder of the model that it changes
  LoraOptions options;
  // "<layer>.lora_A.weight" [rank, in], "<layer>.lora_B.weight" [out, rank] and with use_dora
  // "<layer>.lora_magnitude_vector" [out], in our names of layers, which are those of weights.
  std::vector<model::NamedTensor> adapters;
  // Weights of the projector, when the stage trained them beside the adapters; else empty.
  std::vector<model::NamedTensor> projector;
};

// Writes adapter_config.json and adapter_model.safetensors into `folder`, which is made.
// PeftModel.from_pretrained over transformers' LlavaForConditionalGeneration of `base` gives the
// weights of the stage: the targets are named by an expression that meets the decoder's layers
// alone, a trained projector is among modules_to_save. ALREADY_EXISTS: an adapter lies there.
// INVALID_ARGUMENT: a name that is no adapter's.
absl::Status WritePeftAdapter(const PeftAdapter& adapter, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EXPORT_PEFT_ADAPTER_H_
