#include "training/run/publish_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "model/checkpoint/manifest.h"
#include "tests/support/temp_dir.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

class DataFingerprintTest : public ::testing::Test {
 protected:
  std::string File(const std::string& name, const std::string& text) const {
    std::ofstream(dir_.path() + "/" + name) << text;
    return dir_.path() + "/" + name;
  }

  static DataOptions Files(const std::vector<std::string>& files) {
    DataOptions data;
    data.files = files;
    return data;
  }

  static DataOptions Drawn(const ScenesOptions& scenes) {
    DataOptions data;
    data.scenes = scenes;
    return data;
  }

  static std::string Of(const std::vector<DataOptions>& stages) {
    Recipe recipe;
    for (const DataOptions& data : stages) recipe.stages.emplace_back().data = data;
    const auto fingerprint = DataFingerprint(recipe);
    EXPECT_TRUE(fingerprint.ok()) << fingerprint.status();
    return fingerprint.ok() ? *fingerprint : "";
  }

  test::TempDir dir_;
};

TEST_F(DataFingerprintTest, IsTheDigestOfTheFilesBytesEachOnce) {
  const std::string large(200'000, 'x');  // more than is read at once
  const std::string a = File("a", large);
  const std::string b = File("b", "two");
  EXPECT_EQ(Of({Files({a, b})}), Sha256Of(large + "two").Hex());
  EXPECT_EQ(Of({Files({a}), Files({b, a})}), Sha256Of(large + "two").Hex());
  EXPECT_NE(Of({Files({b, a})}), Of({Files({a, b})}));
}

TEST_F(DataFingerprintTest, NamesAMissingFile) {
  Recipe recipe;
  recipe.stages.emplace_back().data.files = {dir_.path() + "/no"};
  EXPECT_EQ(DataFingerprint(recipe).status(),
            absl::NotFoundError(dir_.path() + "/no: cannot be read"));
}

TEST_F(DataFingerprintTest, OfDrawnScenesEveryWishCounts) {
  const ScenesOptions scenes{.count = 3, .seed = 5, .level = "one", .turns = 2, .comparisons = 1};
  const std::string before = Of({Drawn(scenes)});
  EXPECT_EQ(Of({Drawn(scenes)}), before);
  std::vector<ScenesOptions> others(5, scenes);
  others[0].count = 4;
  others[1].seed = 6;
  others[2].level = "full";
  others[3].turns = 3;
  others[4].comparisons = 2;
  for (const ScenesOptions& other : others) EXPECT_NE(Of({Drawn(other)}), before);
}

// The demo's architecture with random weights: what training from scratch begins with.
class PublishRunTest : public ::testing::Test {
 protected:
  PublishRunTest() {
    recipe_.file = dir_.path() + "/recipe.yaml";
    std::ofstream(recipe_.file) << "name: test\n";
    std::ofstream(dir_.path() + "/rows.jsonl") << "rows";
    recipe_.output = dir_.path() + "/run";
    recipe_.publish = dir_.path() + "/published";
    recipe_.model.from_scratch = "demo/architecture";
    recipe_.stages.emplace_back().data.files = {dir_.path() + "/rows.jsonl"};
    fs::create_directories(recipe_.output);
    auto model = LoadTrainingModel(recipe_, at::kCPU);
    EXPECT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  PublishedVersion Publish(std::int64_t step) {
    const auto published = PublishRun(recipe_, *model_, step, [this](const std::string& message) {
      messages_.push_back(message);
    });
    EXPECT_TRUE(published.ok()) << published.status();
    return published.ok() ? *published : PublishedVersion();
  }

  test::TempDir dir_;
  Recipe recipe_;
  std::unique_ptr<model::Llava> model_;
  std::vector<std::string> messages_;
};

TEST_F(PublishRunTest, TheManifestSaysWhereTheWeightsAreFrom) {
  const PublishedVersion published = Publish(42);
  const auto manifest = model::ReadManifest(published.dir);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->manifest.step, 42);
  EXPECT_EQ(manifest->manifest.recipe, "name: test\n");
  EXPECT_EQ(manifest->manifest.data_fingerprint, Sha256Of("rows").Hex());
  EXPECT_EQ(manifest->manifest.parent, "");
  EXPECT_TRUE(manifest->manifest.probes.empty());
  EXPECT_TRUE(model::VerifyFiles(manifest->manifest, published.dir).ok());
  EXPECT_EQ(LatestVersion(recipe_.publish)->version, published.version);
  // As it is served: with the files of the architecture, and the weights as they were.
  EXPECT_TRUE(fs::exists(published.dir + "/tokenizer.json"));
  const auto served = model::Llava::Load(published.dir, {});
  ASSERT_TRUE(served.ok()) << served.status();
  const std::string name = "multi_modal_projector.linear_1.weight";
  const at::Tensor expected = model_->weights().at(name).to(at::kBFloat16).to(at::kFloat);
  EXPECT_TRUE(expected.equal((*served)->weights().at(name)));
}

TEST_F(PublishRunTest, PublishingAgainIsTheSameVersion) {
  const PublishedVersion first = Publish(42);
  EXPECT_EQ(Publish(42).dir, first.dir);
  EXPECT_EQ(ListVersions(recipe_.publish)->size(), 1u);
}

TEST_F(PublishRunTest, KeepsAsManyVersionsAsTheRecipeSays) {
  recipe_.keep_published = 2;
  const PublishedVersion first = Publish(1);
  Publish(2);
  EXPECT_TRUE(messages_.empty());
  Publish(3);
  EXPECT_THAT(messages_, ElementsAre("deleted " + first.dir));
  EXPECT_EQ(ListVersions(recipe_.publish)->size(), 2u);
}

TEST_F(PublishRunTest, WhatATunedModelCameFromIsItsParent) {
  recipe_.model.checkpoint = Publish(1).dir;
  recipe_.model.from_scratch.clear();
  const std::string parent = LatestVersion(recipe_.publish)->version;
  const auto manifest = model::ReadManifest(Publish(2).dir);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->manifest.parent, parent);
}

}  // namespace
}  // namespace llava::training
