// The loss of a batch of rows and its gradients, of each family that is trained, against those of
// transformers, and with LoRA adapters against those of PEFT (made by make_training_golden.py).
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/sin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json_reader.h"
#include "tests/support/family_folder.h"
#include "tests/support/temp_dir.h"
#include "training/data/conversation_builder.h"
#include "training/data/instruction_dataset.h"
#include "training/objective/conversation_objective.h"
#include "training/optim/adapters.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr double kLossTolerance = 3e-6;
constexpr double kGradientTolerance = 2e-5;  // of the gradient's norm

class TrainingGolden : public testing::TestWithParam<const char*> {
 protected:
  TrainingGolden()
      : folder_(GetParam()),
        golden_(
            *ReadJsonObject(std::string(test::kFamilies) + "/" + GetParam() + "/training.json")) {}

  double Number(const char* key) const { return golden_.at(key).to_number<double>(); }

  // All rows in one batch.
  Batch AllRows() const {
    const std::string file = dir_.path() + "/rows.json";
    std::ofstream(file) << json::serialize(golden_.at("rows"));
    const auto dataset = InstructionDataset::Open({file}, {.images_dir = test::kFamilyImages});
    const auto builder = ConversationBuilder::Make(
        folder_.path(), "", {.images_dir = test::kFamilyImages, .chat_template = kServingTemplate});
    EXPECT_TRUE(dataset.ok() && builder.ok()) << dataset.status() << builder.status();
    std::vector<Sample> samples;
    for (std::int64_t i = 0; i < dataset->size(); ++i) {
      auto built = builder->Build(*dataset->Read(i));
      EXPECT_TRUE(built.ok()) << built.status();
      for (Sample& sample : *built) samples.push_back(std::move(sample));
    }
    return Collate(std::move(samples));
  }

  // The mean loss over the label tokens, with its graph.
  at::Tensor Loss(const model::Llava& model, bool tower_is_frozen) {
    ConversationObjective objective(
        model, [this]() -> absl::StatusOr<Batch> { return AllRows(); }, 1, tower_is_frozen,
        1 << 24);
    absl::StatusOr<Pass> pass = objective.Next();
    EXPECT_TRUE(pass.ok()) << pass.status();
    EXPECT_EQ(static_cast<double>(pass->targets), Number("targets"));
    EXPECT_EQ(static_cast<double>(pass->stats.tokens), Number("tokens"));
    return pass->loss_sum / static_cast<double>(pass->targets);
  }

  // The file has values and gradients of adapters.
  void ExpectAdaptersOfPeft(const std::string& file, bool dora);

  const test::FamilyFolder folder_;
  const test::TempDir dir_;
  const json::object golden_;
};

// The norm, and the sum of the values times sin(0), sin(1), ...
std::pair<double, double> Summary(const at::Tensor& gradient) {
  const at::Tensor flat = gradient.to(at::kDouble).flatten();
  const at::Tensor waves = at::arange(flat.size(0), at::kDouble).sin();
  return {flat.norm().item<double>(), (flat * waves).sum().item<double>()};
}

// The gradient is the one that has this summary. That of keys' biases is 0
// but for roundings: softmax does not see them.
void ExpectGradient(const at::Tensor& gradient, const json::value& expected,
                    const std::string& name) {
  const auto [norm, along] = Summary(gradient);
  const double its_norm = expected.at(0).to_number<double>();
  const double count = std::sqrt(static_cast<double>(gradient.numel()));
  const double slack = kGradientTolerance * its_norm + 1e-7;
  EXPECT_NEAR(norm, its_norm, slack) << name;
  EXPECT_NEAR(along, expected.at(1).to_number<double>(), slack * count) << name;
}

TEST_P(TrainingGolden, LossAndGradientsAreThoseOfTransformers) {
  const auto model = model::Llava::Load(folder_.path(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  for (const auto& [name, weight] : (*model)->weights()) weight.requires_grad_();
  const at::Tensor loss = Loss(**model, /*tower_is_frozen=*/false);
  EXPECT_NEAR(loss.item<double>(), Number("loss"), kLossTolerance * Number("loss"));
  loss.backward();
  const json::object& gradients = golden_.at("gradients").as_object();
  EXPECT_EQ(gradients.contains("image_newline"), (*model)->config().has_tiles());
  std::size_t compared = 0;
  for (const auto& [name, weight] : (*model)->weights()) {
    const json::value* expected = gradients.if_contains(name);
    ASSERT_NE(expected, nullptr) << name;
    ASSERT_TRUE(weight.grad().defined()) << name;
    ExpectGradient(weight.grad(), *expected, name);
    ++compared;
  }
  EXPECT_EQ(compared, gradients.size());
}

TEST_P(TrainingGolden, AFrozenTowerHasTheSameLossAndGradients) {
  const auto model = model::Llava::Load(folder_.path(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  for (const auto& [name, weight] : (*model)->weights()) {
    weight.requires_grad_(!name.starts_with("vision_tower."));
  }
  const at::Tensor loss = Loss(**model, /*tower_is_frozen=*/true);
  EXPECT_NEAR(loss.item<double>(), Number("loss"), kLossTolerance * Number("loss"));
  loss.backward();
  for (const auto& [name, expected] : golden_.at("gradients").as_object()) {
    const at::Tensor& gradient = (*model)->weights().at(std::string(name)).grad();
    if (name.starts_with("vision_tower.")) {
      EXPECT_FALSE(gradient.defined()) << name;
      continue;
    }
    ASSERT_TRUE(gradient.defined()) << name;
    const double norm = expected.at(0).to_number<double>();
    EXPECT_NEAR(Summary(gradient).first, norm, kGradientTolerance * norm + 1e-7) << name;
  }
}

void TrainingGolden::ExpectAdaptersOfPeft(const std::string& file, bool dora) {
  const json::object lora =
      *ReadJsonObject(std::string(test::kFamilies) + "/" + GetParam() + "/" + file);
  const auto model = model::Llava::Load(folder_.path(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  LoraOptions options;  // the targets are all linear layers
  options.use_dora = dora;
  options.rank = lora.at("r").to_number<std::int64_t>();
  options.alpha = lora.at("alpha").to_number<double>();
  const Adapters adapters(**model, options, /*seed=*/1);
  std::vector<model::NamedTensor> parameters = adapters.parameters();
  std::sort(parameters.begin(), parameters.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  double number = 0;
  for (const auto& [name, weight] : parameters) {
    const at::NoGradGuard no_grad;
    const at::Tensor waves = (at::arange(weight.numel(), at::kDouble) * ++number).sin() * 0.1;
    const bool magnitude = name.ends_with("_vector");
    weight.copy_(magnitude ? weight * (waves + 1.0) : waves.view_as(weight));
  }
  for (const auto& [name, weight] : parameters) weight.requires_grad_();
  const at::Tensor loss = Loss(**model, /*tower_is_frozen=*/true);
  const double expected = lora.at("loss").to_number<double>();
  EXPECT_NEAR(loss.item<double>(), expected, kLossTolerance * expected);
  EXPECT_GT(std::abs(expected - Number("loss")), 100 * kLossTolerance * expected);
  loss.backward();
  const json::object& gradients = lora.at("gradients").as_object();
  EXPECT_EQ(parameters.size(), gradients.size());
  for (const auto& [name, weight] : parameters) {
    const json::value* its = gradients.if_contains(name);
    ASSERT_NE(its, nullptr) << name;
    ASSERT_TRUE(weight.grad().defined()) << name;
    ExpectGradient(weight.grad(), *its, name);
  }
}

TEST_P(TrainingGolden, AdaptersHaveTheLossAndTheGradientsOfPeft) {
  ExpectAdaptersOfPeft("lora.json", /*dora=*/false);
}

class DoraGolden : public TrainingGolden {};

TEST_P(DoraGolden, MagnitudesHaveTheLossAndTheGradientsOfPeft) {
  ExpectAdaptersOfPeft("dora.json", /*dora=*/true);
}

INSTANTIATE_TEST_SUITE_P(Families, TrainingGolden,
                         testing::Values("llava_mistral", "llava_qwen2", "llava_qwen3",
                                         "llava_phi3", "vipllava", "next_mistral",
                                         "next_llama_yarn", "onevision"),
                         [](const auto& family) { return std::string(family.param); });

INSTANTIATE_TEST_SUITE_P(Families, DoraGolden,
                         testing::Values("llava_mistral", "llava_qwen2", "llava_phi3"),
                         [](const auto& family) { return std::string(family.param); });

}  // namespace
}  // namespace llava::training
