#include "training/run/publish_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "model/checkpoint/manifest.h"
#include "model/image/preprocess.h"
#include "tests/support/temp_dir.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

// The demo's architecture with random weights: what training from scratch begins with.
class PublishRunTest : public ::testing::Test {
 protected:
  PublishRunTest() {
    recipe_.file = dir_.path() + "/recipe.yaml";
    recipe_.text = "name: test\n";
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

  FinishedRun Publish(std::int64_t step) {
    inputs_.data_fingerprint = "feed";
    Progress progress;
    progress.total_steps = step;
    PublishRunOptions options;
    options.on_message = [this](const std::string& message) { messages_.push_back(message); };
    options.before_visible = before_visible_;
    const auto published = PublishRun(recipe_, inputs_, *model_, progress, options);
    EXPECT_TRUE(published.ok()) << published.status();
    return published.ok() ? *published : FinishedRun();
  }

  test::TempDir dir_;
  Recipe recipe_;
  RunInputs inputs_;
  std::unique_ptr<model::Llava> model_;
  std::vector<std::string> messages_;
  std::function<void()> before_visible_ = [] {};
};

TEST_F(PublishRunTest, TheManifestSaysWhereTheWeightsAreFrom) {
  const FinishedRun published = Publish(42);
  const auto manifest = model::ReadManifest(published.dir);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->manifest.step, 42);
  EXPECT_EQ(manifest->manifest.recipe, "name: test\n");
  EXPECT_EQ(manifest->manifest.data_fingerprint, "feed");
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

// A stage that pads pictures makes a model that wants them padded.
TEST_F(PublishRunTest, TheFolderSaysHowPicturesWereMadeSquare) {
  recipe_.stages[0].data.aspect = PictureAspect::kPad;
  const FinishedRun finished = Publish(7);
  const auto settings = model::ReadPreprocessSettings(finished.dir, model_->config());
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->aspect, model::ImageAspect::kPad);
  const auto before = model::ReadPreprocessSettings("demo/architecture", model_->config());
  EXPECT_EQ(settings->image_size, before->image_size);
  EXPECT_EQ(settings->mean, before->mean);
}

TEST_F(PublishRunTest, TheManifestSaysWhichWeightsItHas) {
  Progress progress;
  progress.total_steps = 9;
  progress.kept_weights = {"stage a: these", "stage b: those"};
  const auto published = PublishRun(recipe_, inputs_, *model_, progress);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(model::ReadManifest(published->dir)->manifest.selection,
            "stage a: these; stage b: those");
}

TEST_F(PublishRunTest, PublishingAgainIsTheSameVersion) {
  const FinishedRun first = Publish(42);
  EXPECT_EQ(Publish(42).dir, first.dir);
  EXPECT_EQ(ListVersions(recipe_.publish)->size(), 1u);
}

TEST_F(PublishRunTest, KeepsAsManyVersionsAsTheRecipeSays) {
  recipe_.keep_published = 2;
  const FinishedRun first = Publish(1);
  Publish(2);
  EXPECT_TRUE(messages_.empty());
  Publish(3);
  EXPECT_THAT(messages_, ElementsAre("deleted " + first.dir));
  EXPECT_EQ(ListVersions(recipe_.publish)->size(), 2u);
}

// The lock of the published versions becomes a folder between publishing and deleting.
TEST_F(PublishRunTest, IsPublishedAlthoughOldVersionsCannotBeDeleted) {
  recipe_.keep_published = 1;
  Publish(1);
  before_visible_ = [this] {
    fs::remove(recipe_.publish + "/.lock");
    fs::create_directory(recipe_.publish + "/.lock");
  };
  const FinishedRun second = Publish(2);
  EXPECT_THAT(messages_, ElementsAre(testing::HasSubstr("old versions were not deleted: ")));
  EXPECT_EQ(LatestVersion(recipe_.publish)->version, second.version);
  EXPECT_EQ(*ReadFinishedRun(recipe_.output), second);
}

TEST_F(PublishRunTest, KnowsItsVersionBeforeServersSeeIt) {
  bool seen = true;
  before_visible_ = [&] { seen = fs::exists(recipe_.publish + "/latest"); };
  const FinishedRun first = Publish(1);
  EXPECT_FALSE(seen);
  EXPECT_EQ(*ReadFinishedRun(recipe_.output), first);
  EXPECT_TRUE(absl::IsNotFound(ReadPublishingRun(recipe_.output).status()));
}

TEST_F(PublishRunTest, TheParentIsWhatTheRunBeganWith) {
  inputs_.parent = "ancestor";
  const auto manifest = model::ReadManifest(Publish(2).dir);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->manifest.parent, "ancestor");
}

// Random weights answer nothing right.
TEST_F(PublishRunTest, WhatDoesNotReachItsSharesIsKeptButNotTheLatest) {
  const FinishedRun good = Publish(1);
  recipe_.evaluation.scenes = {.count = 2, .seed = 7, .level = "one", .turns = 2};
  recipe_.evaluation.require = {{"total", 0.5}};
  const FinishedRun bad = Publish(2);
  EXPECT_THAT(bad.rejected, testing::HasSubstr("evaluate: total is 0, required is 0.5"));
  EXPECT_EQ(LatestVersion(recipe_.publish)->version, good.version);
  EXPECT_EQ(ListVersions(recipe_.publish)->size(), 2u);
  EXPECT_EQ(model::ReadManifest(bad.dir)->manifest.rejected, bad.rejected);
  EXPECT_TRUE(fs::exists(recipe_.publish + "/.rolled-back/" + bad.version));
  recipe_.keep_rejected = false;
  EXPECT_EQ(Publish(3).dir, "");
  EXPECT_EQ(ListVersions(recipe_.publish)->size(), 2u);
}

// The version that it was compared with may be gone by now.
TEST_F(PublishRunTest, AVerdictThatWasGivenBeforeStands) {
  const FinishedRun good = Publish(1);
  recipe_.evaluation.scenes = {.count = 2, .seed = 7, .level = "one", .turns = 2};
  std::ofstream(recipe_.output + "/gate.json") << "as it was heard";
  Progress progress;
  progress.total_steps = 2;
  PublishRunOptions options;
  options.rejected = "worse by 10 points";
  const auto published = PublishRun(recipe_, inputs_, *model_, progress, options);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->rejected, "worse by 10 points");
  EXPECT_EQ(LatestVersion(recipe_.publish)->version, good.version);
  const auto manifest = model::ReadManifest(published->dir)->manifest;
  EXPECT_EQ(manifest.rejected, "worse by 10 points");
  EXPECT_EQ(manifest.evaluations.size(), 1u);
  EXPECT_EQ(*ReadFile(recipe_.output + "/gate.json", 1000), "as it was heard");
}

TEST_F(PublishRunTest, TheLiveVersionIsAskedTheSameQuestions) {
  recipe_.evaluation.scenes = {.count = 2, .seed = 7, .level = "one", .turns = 2};
  const FinishedRun first = Publish(1);
  const auto manifest = model::ReadManifest(first.dir)->manifest;
  ASSERT_EQ(manifest.evaluations.size(), 1u);
  EXPECT_EQ(manifest.evaluations[0].judge, "exact");
  EXPECT_EQ(manifest.evaluations[0].data_fingerprint.size(), 64u);
  EXPECT_EQ(manifest.evaluation, manifest.evaluations[0].scores);
  recipe_.evaluation.min_delta = 0.1;  // must become better, and does not
  const FinishedRun second = Publish(2);
  EXPECT_THAT(second.rejected, testing::HasSubstr("that is a change below +10.00 points"));
  EXPECT_EQ(LatestVersion(recipe_.publish)->version, first.version);
  recipe_.evaluation.against_live = false;
  EXPECT_EQ(Publish(3).rejected, "");
}

TEST_F(PublishRunTest, JudgingPublishesNothingAndSaysWhatItHeard) {
  const FinishedRun live = Publish(1);
  recipe_.evaluation.scenes = {.count = 2, .seed = 7, .level = "one", .turns = 2};
  recipe_.evaluation.require = {{"total", 0.5}};
  Progress progress;
  progress.total_steps = 2;
  const auto judged = JudgeRun(recipe_, inputs_, *model_, progress, [](const std::string&) {});
  ASSERT_TRUE(judged.ok()) << judged.status();
  EXPECT_THAT(judged->rejected, testing::HasSubstr("total is 0, required is 0.5"));
  EXPECT_EQ(judged->version, "");
  EXPECT_EQ(ListVersions(recipe_.publish)->size(), 1u);
  EXPECT_TRUE(fs::exists(recipe_.output + "/checkpoint/model.safetensors"));  // for other judges
  recipe_.evaluation.require = {};
  ASSERT_TRUE(JudgeRun(recipe_, inputs_, *model_, progress, [](const std::string&) {}).ok());
  std::ifstream file(recipe_.output + "/gate.json");
  const std::string record(std::istreambuf_iterator<char>(file), {});
  EXPECT_THAT(record, testing::HasSubstr(live.version));
  EXPECT_THAT(record, testing::HasSubstr("\"change\":"));
}

// A run that was ended between publishing and its record goes on: it is not compared with itself.
TEST_F(PublishRunTest, WhatIsTheLiveVersionAlreadyKeepsWhatItsGateHeard) {
  recipe_.evaluation.scenes = {.count = 2, .seed = 7, .level = "one", .turns = 2};
  const FinishedRun first = Publish(1);
  const auto record = [this] {
    std::ifstream file(recipe_.output + "/gate.json");
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const FinishedRun second = Publish(2);
  EXPECT_THAT(record(), testing::HasSubstr(first.version));
  messages_.clear();
  EXPECT_EQ(Publish(2).dir, second.dir);
  EXPECT_THAT(record(), testing::HasSubstr(first.version));
  EXPECT_THAT(messages_, testing::Not(testing::Contains(testing::HasSubstr("the live version"))));
}

// A server has taken the latest back: what is compared is what it answers with.
TEST_F(PublishRunTest, WhatWasTakenBackIsNotTheLiveVersion) {
  recipe_.evaluation.scenes = {.count = 2, .seed = 7, .level = "one", .turns = 2};
  const FinishedRun good = Publish(1);
  const FinishedRun bad = Publish(2);
  fs::create_directories(recipe_.publish + "/.rolled-back");
  std::ofstream(recipe_.publish + "/.rolled-back/" + bad.version) << "slow";
  messages_.clear();
  Publish(3);
  EXPECT_THAT(messages_, testing::Contains(testing::HasSubstr("the live version " + good.dir)));
}

TEST_F(PublishRunTest, AKindThatIsRequiredAndNotAskedIsSaidAtFirst) {
  recipe_.evaluation.file = dir_.path() + "/questions.jsonl";
  std::ofstream(recipe_.evaluation.file)
      << R"({"id": "1", "kinds": ["colour"], "conversations": [)"
      << R"({"from": "human", "value": "What?"}, {"from": "gpt", "value": "red"}]})" << "\n";
  recipe_.evaluation.require = {{"total", 0.5}, {"colour", 0.5}};
  EXPECT_TRUE(CheckPublishing(recipe_, 4).ok()) << CheckPublishing(recipe_, 4);
  recipe_.guards = {recipe_.evaluation};
  recipe_.guards[0].require = {{"color", 0.5}};
  const absl::Status status = CheckPublishing(recipe_, 4);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(testing::HasSubstr("evaluate.guards[0]: require: names 'color'"),
                             testing::HasSubstr("expected some of colour, total")));
}

// It goes into what is published: after days of training is too late.
TEST_F(PublishRunTest, ABrokenLinkThatWouldBePublishedIsSaidAtFirst) {
  const fs::path source = fs::absolute(recipe_.model.from_scratch);
  const std::string linked = recipe_.model.from_scratch = dir_.path() + "/linked";
  fs::create_directories(linked);
  for (const auto& file : fs::directory_iterator(source)) {
    fs::create_symlink(file.path(), fs::path(linked) / file.path().filename());
  }
  EXPECT_TRUE(CheckPublishing(recipe_, 4).ok()) << CheckPublishing(recipe_, 4);
  fs::create_symlink("gone", linked + "/README.md");  // nobody reads it
  EXPECT_TRUE(CheckPublishing(recipe_, 4).ok()) << CheckPublishing(recipe_, 4);
  fs::create_symlink("gone", linked + "/video_preprocessor_config.json");
  EXPECT_THAT(std::string(CheckPublishing(recipe_, 4).message()),
              testing::HasSubstr("video_preprocessor_config.json: is a link to 'gone'"));
}

TEST_F(PublishRunTest, ChecksWhatItWillNeed) {
  EXPECT_TRUE(CheckPublishing(recipe_, 4).ok());
  recipe_.evaluation.file = dir_.path() + "/questions.jsonl";
  recipe_.evaluation.images = dir_.path();
  EXPECT_EQ(CheckPublishing(recipe_, 4).code(), absl::StatusCode::kNotFound);
  std::ofstream(recipe_.evaluation.file)
      << R"({"id": "1", "image": "a.png", "conversations": [)"
      << R"({"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "a"}]})" << "\n";
  const absl::Status lost = CheckPublishing(recipe_, 4);
  EXPECT_EQ(lost.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(lost.message()),
              testing::HasSubstr("evaluate: " + dir_.path() + "/a.png"));
  std::ofstream(dir_.path() + "/a.png") << "no picture";
  EXPECT_FALSE(CheckPublishing(recipe_, 4).ok());
  recipe_.evaluation = {};
  fs::create_directories(recipe_.publish + "/latest");
  EXPECT_THAT(std::string(CheckPublishing(recipe_, 4).message()),
              testing::HasSubstr("/latest: is there and no link"));
  fs::remove(recipe_.publish + "/latest");
  fs::create_directory_symlink("v000001-0123456789ab", recipe_.publish + "/latest");
  EXPECT_TRUE(CheckPublishing(recipe_, 4).ok());
  recipe_.publish = dir_.path() + "/a.png/published";
  EXPECT_EQ(CheckPublishing(recipe_, 4).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace llava::training
