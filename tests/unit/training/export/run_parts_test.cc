#include "training/export/run_parts.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/item.h>
#include <ATen/ops/max.h>

#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/tensor_file.h"
#include "model/network/weights.h"
#include "model/tensors/tensor_files.h"
#include "tests/support/temp_dir.h"
#include "training/optim/state_store.h"
#include "training/run/opened_run.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

constexpr char kLayer[] = "language_model.model.layers.0.self_attn.q_proj";
constexpr char kBias[] = "multi_modal_projector.linear_2.bias";  // [64]

class RunPartsTest : public ::testing::Test {
 protected:
  RunPartsTest() {
    recipe_.output = dir_.path() + "/run";
    recipe_.model.checkpoint = "tests/golden/data/checkpoint";
    recipe_.stages.resize(2);
    recipe_.stages[0].name = "align";
    recipe_.stages[0].train_projector = true;
    recipe_.stages[1].name = "tune";
    recipe_.stages[1].train_decoder = true;
    recipe_.stages[1].lora.rank = 2;
    recipe_.stages[1].lora.use_dora = true;
  }

  // A state of that stage and step.
  void Save(std::int64_t stage, std::int64_t step) {
    Progress progress;
    progress.stage = stage;
    progress.step = step;
    progress.total_steps = 10 * stage + step;
    const std::string adapter = absl::StrCat("optimizer/", kLayer);
    ASSERT_TRUE(StateStore(StateFolder(recipe_), 2, alone_)
                    .Save(progress, {{absl::StrCat("weight/", kBias), at::full({64}, 7.0)},
                                     {adapter + ".lora_A.weight", at::full({2, 64}, 1.0)},
                                     {adapter + ".lora_B.weight", at::full({64, 2}, 2.0)},
                                     {adapter + ".lora_magnitude_vector", at::full({64}, 3.0)},
                                     {adapter + ".lora_magnitude_vector.m", at::full({64}, 1.0)},
                                     {adapter + ".lora_A.weight.exp_avg", at::full({2}, 1.0)}})
                    .ok());
  }

  std::map<std::string, at::Tensor> Tensors(const std::string& folder) const {
    const auto tensors = model::LoadTensors(folder + "/adapter_model.safetensors");
    EXPECT_TRUE(tensors.ok()) << tensors.status();
    std::map<std::string, at::Tensor> by_name;
    for (const auto& [name, tensor] : *tensors) by_name[name] = tensor;
    return by_name;
  }

  const test::TempDir dir_;
  const std::string out_ = dir_.path() + "/out";
  Recipe recipe_;
  Ranks alone_;
};

TEST_F(RunPartsTest, WhileTheStageRunsItsStateHasTheAdapters) {
  Save(1, 3);
  const absl::Status status = ExportPeft(recipe_, {}, out_);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Tensors(out_).size(), 4u);  // the optimizer's moments are no part of it
  EXPECT_TRUE(
      at::equal(Tensors(out_).at("base_model.model.model.multi_modal_projector.linear_2.bias"),
                at::full({64}, 7.0)));
}

TEST_F(RunPartsTest, AfterItsEndTheyAreWhatWasKept) {
  Save(2, 0);
  EXPECT_TRUE(absl::IsNotFound(ExportPeft(recipe_, {}, out_)));
  const std::string file = AdaptersFile(recipe_, 1);
  std::filesystem::create_directories(std::filesystem::path(file).parent_path());
  ASSERT_TRUE(
      model::SaveTensors(file, {{absl::StrCat(kLayer, ".lora_A.weight"), at::full({2, 64}, 5.0)}})
          .ok());
  ASSERT_TRUE(ExportPeft(recipe_, {}, out_).ok());
  EXPECT_EQ(Tensors(out_).begin()->second.max().item<float>(), 5.0F);
}

TEST_F(RunPartsTest, AdaptersThatWouldNotBeWhatWasTrainedAreRefused) {
  EXPECT_TRUE(absl::IsNotFound(ExportPeft(recipe_, {}, out_)));  // no state
  Save(1, 0);
  EXPECT_TRUE(absl::IsNotFound(ExportPeft(recipe_, {}, out_)));  // the stage has not begun
  Save(1, 3);
  recipe_.stages[0].train_decoder = true;
  const absl::Status status = ExportPeft(recipe_, {}, out_);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("stage align trains the decoder"));
  recipe_.stages[0].train_decoder = false;
  recipe_.stages[1].train_vision_tower = true;
  EXPECT_THAT(std::string(ExportPeft(recipe_, {}, out_).message()),
              HasSubstr("stage tune trains the vision tower"));
}

TEST_F(RunPartsTest, AProjectorHasTheOriginalCodesNamesOrHuggingFaces) {
  Save(1, 3);
  for (const std::string name : {"mm_projector.bin", "projector.safetensors"}) {
    const std::string file = dir_.path() + "/" + name;
    const absl::Status status = ExportProjector(recipe_, ProjectorNames::kOriginal, file);
    ASSERT_TRUE(status.ok()) << status;
    const auto opened = model::OpenTensorFile(file);
    ASSERT_TRUE(opened.ok()) << opened.status();
    ASSERT_EQ(opened->tensors.size(), 4u) << name;
    const auto bias =
        model::TensorOf({opened->tensors.at("model.mm_projector.2.bias"), opened->file, "bias"});
    ASSERT_TRUE(bias.ok()) << bias.status();
    EXPECT_TRUE(at::equal(*bias, at::full({64}, 7.0)));
    EXPECT_TRUE(opened->tensors.contains("model.mm_projector.0.weight"));
    EXPECT_TRUE(absl::IsAlreadyExists(ExportProjector(recipe_, ProjectorNames::kOriginal, file)));
  }
  const std::string file = dir_.path() + "/other.bin";
  ASSERT_TRUE(ExportProjector(recipe_, ProjectorNames::kHuggingFace, file).ok());
  const auto opened = model::OpenTensorFile(file);
  ASSERT_TRUE(opened.ok()) << opened.status();
  ASSERT_EQ(opened->tensors.size(), 4u);
  const auto bias = model::TensorOf({opened->tensors.at(kBias), opened->file, "bias"});
  ASSERT_TRUE(bias.ok()) << bias.status();
  EXPECT_TRUE(at::equal(*bias, at::full({64}, 7.0)));
}

}  // namespace
}  // namespace llava::training
