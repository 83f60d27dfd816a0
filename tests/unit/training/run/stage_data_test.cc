#include "training/run/stage_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_dir.h"
#include "training/data/holdout.h"
#include "training/data/instruction_dataset.h"
#include "training/run/run.h"
#include "training/run/run_inputs.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class StageDataTest : public ::testing::Test {
 protected:
  StageDataTest() {
    fs::create_directories(dir_.path() + "/pictures");
    for (int i = 0; i < 5; ++i) {
      fs::copy("tests/golden/data/images/landscape.png",
               absl::StrCat(dir_.path(), "/pictures/", i, ".png"));
    }
    WriteRows("rows.jsonl", 10);
    Recipe& recipe = run_.recipe;
    recipe.model.from_scratch = "demo/architecture";
    recipe.output = dir_.path() + "/run";
    recipe.publish = dir_.path() + "/published";
    StageOptions& stage = recipe.stages.emplace_back();
    stage.name = "tune";
    stage.train_projector = true;
    stage.batch = 4;
    stage.micro_batch = 2;
    stage.data.files = {dir_.path() + "/rows.jsonl"};
    stage.data.images = dir_.path() + "/pictures";
    stage.validate.share = 0.2;
    stage.validate.every = 2;
    stage.validate.samples = 1;
    model_ = *LoadTrainingModel(recipe, at::kCPU);
  }

  void WriteRows(const std::string& name, int count) const {
    std::ofstream out(dir_.path() + "/" + name);
    for (int i = 0; i < count; ++i) {
      out << R"({"id": ")" << i << R"(", "image": ")" << i % 5
          << R"(.png", "conversations": [{"from": "human", "value": "<image>\nWhich?"},)"
          << R"( {"from": "gpt", "value": "this"}]})" << "\n";
    }
  }

  StageData Open() {
    return StageData(
        run_, *model_, alone_, clock_, [this](const std::string& line) { lines_.push_back(line); },
        nullptr);
  }

  StageOptions& Stage() { return run_.recipe.stages[0]; }

  test::TempDir dir_;
  OpenedRun run_;
  std::unique_ptr<model::Llava> model_;
  Ranks alone_;
  ManualClock clock_;
  std::vector<std::string> lines_;
};

TEST_F(StageDataTest, RowsThatAreHeldBackAreValidatedWith) {
  StageData data = Open();
  ASSERT_TRUE(data.CheckAll(0).ok()) << data.CheckAll(0);
  const auto objective = data.Make(Stage(), 0);
  ASSERT_TRUE(objective.ok()) << objective.status();
  EXPECT_EQ((*objective)->steps_per_epoch(), 2);  // of 8 rows
  const auto validation = data.MakeValidation(Stage());
  ASSERT_TRUE(validation.ok()) << validation.status();
  ASSERT_NE(*validation, nullptr);
  const auto sums = (*validation)->Run([] { return false; });
  ASSERT_TRUE(sums.ok()) << sums.status();
  EXPECT_EQ(sums->rows, 2);
  EXPECT_GT(sums->targets, 0);
  ASSERT_EQ(data.questions().questions.size(), 1u);
  EXPECT_EQ(data.questions().questions[0].question, "Which?");
  EXPECT_EQ(data.questions().questions[0].expected, "this");
  EXPECT_TRUE(fs::exists(data.questions().questions[0].images.at(0)));
  EXPECT_EQ(data.questions().chat_template, "vicuna_v1");
  EXPECT_THAT(lines_, testing::Contains(HasSubstr("validated with 2 rows every 2 steps")));
}

TEST_F(StageDataTest, AFileOfItsOwnTakesNothingFromTheStage) {
  WriteRows("held-out.jsonl", 3);
  Stage().validate.share = 0;
  Stage().validate.file = dir_.path() + "/held-out.jsonl";
  StageData data = Open();
  EXPECT_EQ((*data.Make(Stage(), 0))->steps_per_epoch(), 3);  // of 10 rows
  EXPECT_EQ((*(*data.MakeValidation(Stage()))->Run([] { return false; })).rows, 3);
  // It is one of the run's inputs: another one by now is an error.
  run_.inputs.inputs = {{InputKind::kData, 0, Stage().validate.file, std::string(64, '0')}};
  EXPECT_THAT(std::string(data.MakeValidation(Stage()).status().message()),
              HasSubstr("held-out.jsonl: has changed since this run was started"));
  fs::remove(Stage().validate.file);
  EXPECT_THAT(std::string(data.CheckAll(0).message()), HasSubstr("stage tune: validate"));
}

// All its steps would have a loss of 0; a later stage is found before the first one begins.
TEST_F(StageDataTest, AStageThatWouldLearnNothingIsNamedBeforeItsFirstStep) {
  Stage().data.max_length = 8;  // within the prompt
  const std::string why = "nothing would be learned: every label is masked in each of the 10 rows";
  EXPECT_THAT(std::string(Open().Make(Stage(), 0).status().message()),
              HasSubstr("stage tune: " + why));
  StageOptions later = Stage();
  Stage().data.max_length = 2048;
  later.name = "later";
  run_.recipe.stages.push_back(later);
  const absl::Status status = Open().CheckAll(0);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("stage later: " + why));
  EXPECT_THAT(std::string(status.message()), HasSubstr("rows.jsonl:1 has 8 tokens"));
}

// Each validation would measure nothing, and the first one would end the run.
TEST_F(StageDataTest, AFileOfValidationWithoutALabelIsNamedBeforeTheFirstStep) {
  Stage().validate.share = 0;
  Stage().validate.file = dir_.path() + "/rows.jsonl";
  EXPECT_TRUE(Open().CheckAll(0).ok());
  Stage().data.max_length = 8;
  EXPECT_THAT(std::string(Open().CheckAll(0).message()),
              HasSubstr("stage tune: validate: nothing would be learned: every label is masked"));
}

TEST_F(StageDataTest, HeldBackRowsWithoutALabelAreNamedBeforeTheFirstStep) {
  DatasetOptions options;
  options.images_dir = Stage().data.images;
  const InstructionDataset rows = InstructionDataset::Open(Stage().data.files, options).value();
  const HoldOut split = HoldOutRows(rows, 2, run_.recipe.seed).value();
  ASSERT_EQ(split.held_out.size(), 2u);
  std::string question = "<image>\\n";
  for (int i = 0; i < 5000; ++i) question += "so ";  // behind which max_length cuts
  std::ofstream out(dir_.path() + "/rows.jsonl");
  for (int i = 0; i < 10; ++i) {
    const bool held = i == split.held_out[0] || i == split.held_out[1];
    out << R"({"id": ")" << i << R"(", "image": ")" << i % 5
        << R"(.png", "conversations": [{"from": "human", "value": ")"
        << (held ? question : "<image>\\nWhich?") << R"("}, {"from": "gpt", "value": "this"}]})"
        << "\n";
  }
  out.close();
  EXPECT_THAT(std::string(Open().Make(Stage(), 0).status().message()),
              HasSubstr("stage tune: validate: nothing would be learned: every label is masked in "
                        "each of the 2 rows"));
}

TEST_F(StageDataTest, WithoutASectionThereIsNoValidation) {
  Stage().validate = {};
  StageData data = Open();
  EXPECT_EQ((*data.Make(Stage(), 0))->steps_per_epoch(), 3);
  EXPECT_EQ(*data.MakeValidation(Stage()), nullptr);
}

TEST_F(StageDataTest, WhatWouldEndTheRunLaterIsSaidAtFirst) {
  Stage().data.images = dir_.path() + "/none";
  EXPECT_THAT(std::string(Open().CheckAll(0).message()), HasSubstr("no such folder"));
}

}  // namespace
}  // namespace llava::training
