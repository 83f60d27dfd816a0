// Which weights a stage trains (training/optim/trainer.h).
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "tests/unit/training/optim/toy.h"
#include "training/optim/trainer.h"

namespace llava::training {
namespace {

std::unique_ptr<model::Llava> TiledModel() {
  model::LlavaConfig config = toy::Config();
  config.architecture = model::Architecture::kLlavaNext;
  config.anyres.pinpoints = {{8, 16}, {16, 8}};
  RandomWeights weights(3, at::kFloat, at::kCPU);
  return std::make_unique<model::Llava>(config, weights);
}

std::set<std::string> Trained(const StageOptions& stage, const model::Llava& model) {
  std::set<std::string> names;
  for (const ParameterGroup& group : SelectParameters(stage, model, {})) {
    for (const model::NamedTensor& parameter : group.parameters) names.insert(parameter.name);
  }
  return names;
}

// As in the original code: with the language model, not with the projector.
TEST(ParametersTest, TheEndOfAPicturesRowsIsLearnedWithTheDecoder) {
  const auto model = TiledModel();
  StageOptions stage;
  stage.train_projector = true;
  const std::set<std::string> first = Trained(stage, *model);
  EXPECT_TRUE(first.contains("multi_modal_projector.linear_1.weight"));
  EXPECT_FALSE(first.contains("image_newline"));
  stage.train_decoder = true;
  EXPECT_TRUE(Trained(stage, *model).contains("image_newline"));
  stage.lora.rank = 4;  // the decoder's own weights stay, and so does this one
  EXPECT_FALSE(Trained(stage, *model).contains("image_newline"));
}

TEST(ParametersTest, TheEndOfAPicturesRowsDoesNotDecay) {
  const auto model = TiledModel();
  StageOptions stage;
  stage.train_decoder = true;
  stage.rate = 1.0;
  stage.weight_decay = 0.1;
  for (const ParameterGroup& group : SelectParameters(stage, *model, {})) {
    for (const model::NamedTensor& parameter : group.parameters) {
      EXPECT_TRUE(parameter.name != "image_newline" || group.weight_decay == 0.0);
    }
  }
}

}  // namespace
}  // namespace llava::training
