#include "training/objective/patch_label_objective.h"

#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "tests/unit/training/optim/toy.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

// An 8 x 8 BMP of one colour.
std::string Bmp(char value) {
  std::string bytes = {'B', 'M', static_cast<char>(246),
                       0,   0,   0,
                       0,   0,   0,
                       0,   54,  0,
                       0,   0,   40,
                       0,   0,   0,
                       8,   0,   0,
                       0,   8,   0,
                       0,   0,   1,
                       0,   24,  0};
  bytes.append(24, '\0');
  return bytes + std::string(192, value);
}

class PatchLabelObjectiveTest : public ::testing::Test {
 protected:
  PatchLabelObjectiveTest() {
    labels_.patch = 4;
    labels_.rows = labels_.columns = 2;
    labels_.planes = {{"what", {"ground", "circle", "cross"}}, {"colour", {"red", "blue"}}};
    for (int i = 0; i < 5; ++i) {
      labels_.images.push_back(std::to_string(i) + ".bmp");
      // "what" of the four patches, then "colour".
      for (const int label : {1, 0, 0, i % 3, 1, 1, 0, 1}) {
        labels_.labels.push_back(static_cast<std::uint8_t>(label));
      }
    }
    settings_.image_size = settings_.shortest_edge = 8;
    options_ = {.folder = dir_.path(), .global_batch = 2, .seed = 3};
    std::filesystem::create_directories(dir_.path() + "/images");
    for (int i = 0; i < 5; ++i) {
      std::ofstream(dir_.path() + "/images/" + labels_.images[static_cast<std::size_t>(i)])
          << Bmp(static_cast<char>(20 * i));
    }
    Write();
  }

  void Write() { ASSERT_TRUE(WriteDenseLabels(labels_, dir_.path()).ok()); }

  absl::StatusOr<std::unique_ptr<PatchLabelObjective>> Create() const {
    return PatchLabelObjective::Create(*model_, model::Preprocessor(settings_), options_);
  }

  const std::unique_ptr<model::Llava> model_ = toy::Model();
  test::TempDir dir_;
  DenseLabels labels_;
  model::PreprocessSettings settings_;
  PatchLabelOptions options_;
};

TEST_F(PatchLabelObjectiveTest, AHeadThatSaysNothingLosesTheLogarithmOfTheClasses) {
  const auto objective = Create();
  ASSERT_TRUE(objective.ok()) << objective.status();
  EXPECT_EQ((*objective)->steps_per_epoch(), 3);  // of 2, 2 and 1 images
  const std::vector<model::NamedTensor> head = (*objective)->extra_parameters();
  ASSERT_EQ(head.size(), 2u);
  EXPECT_EQ(head[0].tensor.sizes(), (at::IntArrayRef{5, 16}));
  EXPECT_EQ(head[1].tensor.sizes(), (at::IntArrayRef{5}));
  head[0].tensor.zero_();
  const auto pass = (*objective)->Next();
  ASSERT_TRUE(pass.ok()) << pass.status();
  EXPECT_EQ(pass->targets, 2 * 4 * 2);  // images, patches, planes
  EXPECT_NEAR(pass->loss_sum.item<double>(), 8 * std::log(3.0) + 8 * std::log(2.0), 1e-4);
  EXPECT_EQ(pass->stats.samples, 2);
  EXPECT_EQ(pass->stats.tokens, 8);
  EXPECT_EQ(pass->stats.label_tokens, pass->targets);
}

// Every patch of every plane is asked, each against its own classes.
TEST_F(PatchLabelObjectiveTest, CountsTheRightOnes) {
  options_.global_batch = 5;
  const auto objective = Create();
  ASSERT_TRUE(objective.ok()) << objective.status();
  const std::vector<model::NamedTensor> head = (*objective)->extra_parameters();
  head[0].tensor.zero_();
  head[1].tensor[2] = 1.0;  // "cross", which only image 2 has, once
  head[1].tensor[4] = 1.0;  // "blue", three patches of every image
  const auto pass = (*objective)->Next();
  ASSERT_TRUE(pass.ok()) << pass.status();
  EXPECT_EQ(pass->correct, 1 + 5 * 3);
  EXPECT_EQ(pass->sample_ids.size(), 5u);
}

TEST_F(PatchLabelObjectiveTest, TheTowerLearns) {
  for (const auto& [name, weight] : model_->weights()) weight.requires_grad_();
  const auto pass = (*Create())->Next();
  ASSERT_TRUE(pass.ok()) << pass.status();
  pass->loss_sum.backward();
  const at::Tensor patches =
      model_->weights().at("vision_tower.vision_model.embeddings.patch_embedding.weight").grad();
  ASSERT_TRUE(patches.defined());
  EXPECT_GT(patches.abs().max().item<float>(), 0.0F);
}

// Ranks and passes share the images of a step; a run that goes on sees those that come next.
TEST_F(PatchLabelObjectiveTest, PartsOfAStepMakeUpTheStep) {
  options_.global_batch = 4;
  const auto ids = [this](std::int64_t first_step, std::int64_t rank, std::int64_t passes,
                          std::int64_t parts, int count) {
    options_.first_step = first_step;
    options_.rank = rank;
    options_.passes = passes;
    options_.parts = parts;
    const auto objective = Create();
    std::vector<std::string> seen;
    for (int i = 0; i < count; ++i) {
      const auto pass = (*objective)->Next();
      EXPECT_TRUE(pass.ok()) << pass.status();
      EXPECT_EQ(pass->loss_sum.defined(), !pass->sample_ids.empty());
      seen.insert(seen.end(), pass->sample_ids.begin(), pass->sample_ids.end());
    }
    std::sort(seen.begin(), seen.end());
    return seen;
  };
  const std::vector<std::string> first = ids(0, 0, 1, 1, 1);
  const std::vector<std::string> second = ids(1, 0, 1, 1, 1);  // the one that is left
  EXPECT_EQ(first.size(), 4u);
  EXPECT_EQ(second.size(), 1u);
  std::vector<std::string> shared = ids(0, 0, 2, 4, 2);
  for (const std::string& id : ids(0, 1, 2, 4, 2)) shared.push_back(id);
  std::sort(shared.begin(), shared.end());
  EXPECT_EQ(shared, first);
  std::vector<std::string> rest = ids(1, 0, 2, 4, 2);
  for (const std::string& id : ids(1, 1, 2, 4, 2)) rest.push_back(id);
  EXPECT_EQ(rest, second);
}

TEST_F(PatchLabelObjectiveTest, NamesWhatDoesNotFit) {
  std::filesystem::remove(dir_.path() + "/images/0.bmp");
  std::ofstream(dir_.path() + "/images/1.bmp") << "no picture";
  options_.global_batch = 1;
  const auto objective = Create();
  ASSERT_TRUE(objective.ok());
  std::string problems;
  for (int i = 0; i < 5; ++i) {
    problems += std::string((*objective)->Next().status().message()) + "\n";
  }
  EXPECT_THAT(problems, HasSubstr("/images/0.bmp"));
  EXPECT_THAT(problems, HasSubstr("/images/1.bmp: "));

  labels_.columns = 4;
  labels_.labels.resize(5 * 2 * 8);
  Write();
  const absl::Status status = Create().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("has labels for 2 x 4 patches of 5 pictures, the vision tower sees 2 x 2"));
}

}  // namespace
}  // namespace llava::training
