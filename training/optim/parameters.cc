#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint/weight_names.h"
#include "training/optim/trainer.h"

namespace llava::training {
namespace {

enum class Part { kVisionTower, kProjector, kDecoder };

// What ends the rows of pictures with tiles is learned with the decoder, as in the original code
// (github.com/LLaVA-VL/LLaVA-NeXT, llava/train/train.py: mm_tunable_parts).
Part PartOf(const std::string& name) {
  if (name.starts_with(model::kVisionPrefix)) return Part::kVisionTower;
  if (name.starts_with(model::kProjectorPrefix)) return Part::kProjector;
  return Part::kDecoder;
}

}  // namespace

std::int64_t PassesPerStep(const StageOptions& stage, std::int64_t ranks) {
  if (stage.micro_batch == 0) return 1;
  const std::int64_t rows = (stage.batch + ranks - 1) / ranks;
  return (rows + stage.micro_batch - 1) / stage.micro_batch;
}

std::vector<ParameterGroup> SelectParameters(const StageOptions& stage, const model::Llava& model,
                                             const std::vector<model::NamedTensor>& extra) {
  std::vector<model::NamedTensor> tower, projector, decoder;
  for (const auto& [name, tensor] : model.weights()) {
    const Part part = PartOf(name);
    const bool trained = part == Part::kVisionTower ? stage.train_vision_tower
                         : part == Part::kProjector ? stage.train_projector
                                                    : stage.train_decoder && stage.lora.rank == 0;
    if (!trained) continue;
    (part == Part::kVisionTower ? tower
     : part == Part::kProjector ? projector
                                : decoder)
        .push_back({name, tensor});
  }
  std::vector<ParameterGroup> groups;
  const auto add = [&](const std::string& name, double rate,
                       const std::vector<model::NamedTensor>& parameters) {
    for (ParameterGroup& group :
         SplitByDecay(name, rate > 0.0 ? rate : stage.rate, stage.weight_decay, parameters)) {
      groups.push_back(std::move(group));
    }
  };
  add("decoder", stage.rate, decoder);
  add("projector", stage.projector_rate, projector);
  add("vision tower", stage.vision_tower_rate, tower);
  add("head", stage.rate, extra);
  return groups;
}

}  // namespace llava::training
