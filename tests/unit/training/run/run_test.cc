#include "training/run/run.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/clock.h"
#include "model/checkpoint/manifest.h"
#include "tests/support/temp_dir.h"
#include "training/publish/publish.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// The demo's architecture, taught a few scenes: first its tower, then the rest.
constexpr char kRecipe[] = R"(name: small
output: run
seed: 5
model: {from_scratch: ARCHITECTURE}
save: {every_steps: 2, keep: 2}
stages:
  - name: tower
    objective: patch_labels
    train: [vision_tower]
    data: {scenes: {count: 6, seed: 3, level: one, turns: 1}, workers: 1}
    steps: 2
    batch: 3
    rate: 1.0e-3
  - name: tune
    train: [projector, decoder]
    data: {scenes: {count: 6, seed: 3, level: one, turns: 1}, workers: 1, template: v1}
    steps: 3
    batch: 3
    rate: 1.0e-3
)";

class RunTest : public ::testing::Test {
 protected:
  RunTest() {
    std::string text = kRecipe;
    const std::string word = "ARCHITECTURE";
    text.replace(text.find(word), word.size(), fs::absolute("demo/architecture").string());
    std::ofstream(dir_.path() + "/recipe.yaml") << text;
  }

  Recipe Read() const {
    auto recipe = ReadRecipe(dir_.path() + "/recipe.yaml");
    EXPECT_TRUE(recipe.ok()) << recipe.status();
    return *std::move(recipe);
  }

  // Runs until it has reported `stop_after` steps in all, or to the end.
  absl::Status Run(std::size_t stop_after = 1000) {
    RunOptions options;
    options.on_step = [this](const StepReport& report) { losses_.push_back(report.loss); };
    options.on_message = [this](const std::string& line) { messages_ += line + "\n"; };
    options.stop = [this, stop_after] { return losses_.size() >= stop_after; };
    return RunRecipe(Read(), clock_, options).status();
  }

  std::string Lines() const {
    std::ifstream in(dir_.path() + "/run/metrics.jsonl");
    std::string stages;
    for (std::string line; std::getline(in, line);) {
      stages += line.find("\"stage\":\"tune\"") == line.npos ? 'w' : 't';
    }
    return stages;
  }

  test::TempDir dir_;
  RealClock clock_;
  std::vector<double> losses_;
  std::string messages_;
};

TEST_F(RunTest, EndsWithAPublishedVersionAndAFolderToLookAt) {
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(losses_.size(), 5u);
  EXPECT_EQ(Lines(), "wwttt");
  for (const char* name : {"loss.png", "tensorboard", "scenes/one-6-1-0-3/instruct.jsonl"}) {
    EXPECT_TRUE(fs::exists(dir_.path() + "/run/" + name)) << name;
  }
  const auto latest = LatestVersion(dir_.path() + "/run/published");
  ASSERT_TRUE(latest.ok()) << latest.status();
  EXPECT_EQ(model::ReadManifest(latest->dir)->manifest.step, 5);
}

TEST_F(RunTest, GoesOnAfterAStopToTheSameWeights) {
  ASSERT_TRUE(Run().ok());
  const std::vector<double> whole = losses_;
  const std::string version = LatestVersion(dir_.path() + "/run/published")->version;
  fs::remove_all(dir_.path() + "/run");
  losses_.clear();
  EXPECT_TRUE(absl::IsCancelled(Run(3)));
  EXPECT_FALSE(fs::exists(dir_.path() + "/run/published"));
  EXPECT_LT(losses_.size(), 5u);
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(losses_, whole);
  EXPECT_EQ(Lines(), "wwttt");
  EXPECT_EQ(LatestVersion(dir_.path() + "/run/published")->version, version);
}

TEST_F(RunTest, TheTrainedModelIsTheNewestSavedState) {
  Recipe recipe = Read();
  recipe.output = dir_.path() + "/run";
  EXPECT_EQ(LoadTrainedModel(recipe).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Run().ok());
  const auto trained = LoadTrainedModel(recipe);
  ASSERT_TRUE(trained.ok()) << trained.status();
  const auto begun = LoadTrainingModel(recipe, at::kCPU);
  ASSERT_TRUE(begun.ok()) << begun.status();
  const std::string name = "multi_modal_projector.linear_1.weight";
  EXPECT_FALSE(at::equal((*trained)->weights().at(name), (*begun)->weights().at(name)));
  EXPECT_TRUE(at::equal((*LoadTrainingModel(recipe, at::kCPU))->weights().at(name),
                        (*begun)->weights().at(name)));
}

TEST_F(RunTest, AFinishedRunTrainsAndPublishesNothing) {
  ASSERT_TRUE(Run().ok());
  losses_.clear();
  const std::string before = LatestVersion(dir_.path() + "/run/published")->version;
  ASSERT_TRUE(Run().ok());
  EXPECT_TRUE(losses_.empty());
  EXPECT_EQ(ListVersions(dir_.path() + "/run/published")->size(), 1u);
  EXPECT_EQ(LatestVersion(dir_.path() + "/run/published")->version, before);
  EXPECT_THAT(messages_, HasSubstr("this run has finished"));
  EXPECT_FALSE(fs::exists(dir_.path() + "/run/checkpoint"));
}

TEST_F(RunTest, NamesTheModelThatIsNotThere) {
  Recipe recipe = Read();
  EXPECT_EQ(ModelFolder(recipe), recipe.model.from_scratch);
  recipe.model.from_scratch.clear();
  recipe.model.checkpoint = dir_.path() + "/no";
  EXPECT_EQ(ModelFolder(recipe), recipe.model.checkpoint);
  const absl::Status status = RunRecipe(recipe, clock_, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr(dir_.path() + "/no"));
}

}  // namespace
}  // namespace llava::training
