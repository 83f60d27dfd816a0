#include "training/run/run_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/digest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RunInputsTest : public ::testing::Test {
 protected:
  RunInputsTest() {
    std::filesystem::create_directory(dir_.path() + "/model");
    File("model/config.json", "{}");
    File("model/.hidden", "x");
    File("a.jsonl", "one");
    File("b.jsonl", "two");
  }

  std::string File(const std::string& name, const std::string& text) const {
    std::ofstream(dir_.path() + "/" + name) << text;
    return dir_.path() + "/" + name;
  }

  Recipe Read(const std::string& rate = "1.0e-3", const std::string& publish = "published") const {
    const auto recipe = ParseRecipe(
        "name: x\noutput: run\npublish: " + publish +
            "\nmodel: {checkpoint: model}\nstages:\n"
            "  - {name: s, train: [projector], steps: 1, batch: 1, rate: " +
            rate +
            ", data: {files: [a.jsonl]}}\n"
            "  - {name: t, train: [projector], steps: 1, batch: 1, rate: 1, data: {files: "
            "[a.jsonl, b.jsonl]}}\n",
        dir_.path() + "/recipe.yaml");
    EXPECT_TRUE(recipe.ok()) << recipe.status();
    return *recipe;
  }

  RunInputs Describe(const Recipe& recipe) const {
    const auto inputs = DescribeInputs(recipe);
    EXPECT_TRUE(inputs.ok()) << inputs.status();
    return *inputs;
  }

  static std::vector<std::string> Texts(const std::vector<InputChange>& changes) {
    std::vector<std::string> texts;
    for (const InputChange& change : changes) texts.push_back(change.text);
    return texts;
  }

  test::TempDir dir_;
};

TEST_F(RunInputsTest, NothingChangesByItself) {
  const RunInputs inputs = Describe(Read());
  EXPECT_THAT(Texts(Changes(inputs, Describe(Read()), 2)), IsEmpty());
  EXPECT_EQ(inputs.data_fingerprint, Sha256Of("onetwo").Hex());
  EXPECT_EQ(inputs.model, dir_.path() + "/model");
}

TEST_F(RunInputsTest, NamesChangedRowsOfTheStagesThatBegan) {
  const RunInputs inputs = Describe(Read());
  File("b.jsonl", "two and more");
  EXPECT_THAT(Changes(inputs, Describe(Read()), 1), IsEmpty());
  const std::vector<InputChange> changes = Changes(inputs, Describe(Read()), 2);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].kind, InputKind::kData);
  EXPECT_EQ(changes[0].text, dir_.path() + "/b.jsonl: SHA-256 was " + Sha256Of("two").Hex() +
                                 ", is " + Sha256Of("two and more").Hex());
}

TEST_F(RunInputsTest, NamesTheValueOfTheRecipe) {
  const RunInputs inputs = Describe(Read());
  const std::vector<InputChange> changes = Changes(inputs, Describe(Read("2.0e-3")), 1);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].kind, InputKind::kRecipe);
  EXPECT_EQ(changes[0].text, "stages[0].rate: was 1.0e-3, is 2.0e-3");
  const std::vector<InputChange> publishing =
      Changes(inputs, Describe(Read("1.0e-3", "elsewhere")), 2);
  ASSERT_EQ(publishing.size(), 1u);
  EXPECT_EQ(publishing[0].kind, InputKind::kEvaluation);
}

TEST_F(RunInputsTest, NamesAFileOfTheModel) {
  const RunInputs inputs = Describe(Read());
  File("model/config.json", "{\"a\": 1}");
  File("model/tokenizer.json", "{}");
  EXPECT_THAT(Texts(Changes(inputs, Describe(Read()), 1)),
              ElementsAre(HasSubstr("/model/config.json: SHA-256 was"),
                          dir_.path() + "/model/tokenizer.json: is new"));
}

TEST_F(RunInputsTest, AnotherFolderIsAnotherModelOnlyWithOtherFiles) {
  const RunInputs inputs = Describe(Read());
  std::filesystem::copy(dir_.path() + "/model", dir_.path() + "/copy");
  Recipe recipe = Read();
  recipe.model.checkpoint = dir_.path() + "/copy";
  EXPECT_THAT(Changes(inputs, Describe(recipe), 1), IsEmpty());
  File("copy/config.json", "[]");
  EXPECT_THAT(Texts(Changes(inputs, Describe(recipe), 1)),
              ElementsAre("the model to begin with: was " + dir_.path() + "/model, is " +
                          dir_.path() + "/copy"));
}

TEST_F(RunInputsTest, DataThatWasAcceptedIsPartOfTheFingerprint) {
  RunInputs inputs = Describe(Read());
  EXPECT_EQ(TrainedDataFingerprint(inputs), inputs.data_fingerprint);
  inputs.earlier_data = {"ab"};
  EXPECT_EQ(TrainedDataFingerprint(inputs), Sha256Of("ab\n" + inputs.data_fingerprint).Hex());
}

TEST_F(RunInputsTest, TheRecordRoundTrips) {
  EXPECT_EQ(ReadRunInputs(dir_.path()).status().code(), absl::StatusCode::kNotFound);
  RunInputs inputs = Describe(Read());
  inputs.earlier_data = {"ab"};
  ASSERT_TRUE(WriteRunInputs(inputs, dir_.path()).ok());
  EXPECT_EQ(*ReadRunInputs(dir_.path()), inputs);
  File("inputs.json", "{");
  EXPECT_EQ(ReadRunInputs(dir_.path()).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReadFinishedRun(dir_.path()).status().code(), absl::StatusCode::kNotFound);
  const FinishedRun finished{"v", "/published/v", "too bad"};
  ASSERT_TRUE(WriteFinishedRun(finished, dir_.path()).ok());
  EXPECT_EQ(*ReadFinishedRun(dir_.path()), finished);
}

TEST_F(RunInputsTest, NamesAMissingFile) {
  std::filesystem::remove(dir_.path() + "/b.jsonl");
  const absl::Status status = DescribeInputs(Read()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/b.jsonl"));
}

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
  EXPECT_EQ(DataFingerprint(recipe).status().code(), absl::StatusCode::kNotFound);
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

}  // namespace
}  // namespace llava::training
