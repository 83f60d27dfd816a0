#include "training/run/exam.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr char kCheckpoint[] = "tests/golden/data/checkpoint";

class ExamTest : public ::testing::Test {
 protected:
  ExamTest() {
    fs::copy("tests/golden/data/images/gray.png", dir_.path() + "/a.png");
    Write("What?", "nothing");
  }

  void Write(const std::string& question, const std::string& answer) const {
    std::ofstream out(dir_.path() + "/rows.jsonl");
    for (int i = 0; i < 3; ++i) {
      out << R"({"id": "1", "image": "a.png", "conversations": [)"
          << R"({"from": "human", "value": "<image>)" << question << i
          << R"("}, {"from": "gpt", "value": ")" << answer << "\"}]}\n";
    }
  }

  Exam Open(std::int64_t limit = 0) const {
    const auto exam = OpenExam(dir_.path() + "/rows.jsonl", dir_.path(), limit);
    EXPECT_TRUE(exam.ok()) << exam.status();
    return *exam;
  }

  test::TempDir dir_;
};

TEST_F(ExamTest, EqualQuestionsHaveEqualFingerprints) {
  const std::string before = Open().fingerprint;
  EXPECT_EQ(Open().fingerprint, before);
  EXPECT_NE(Open(2).fingerprint, before);
  Write("What?", "something");
  EXPECT_NE(Open().fingerprint, before);
  Write("Who?", "nothing");
  EXPECT_NE(Open().fingerprint, before);
  Write("What?", "nothing");
  EXPECT_EQ(Open().fingerprint, before);
  fs::copy("tests/golden/data/images/portrait.jpg", dir_.path() + "/a.png",
           fs::copy_options::overwrite_existing);
  EXPECT_NE(Open().fingerprint, before);
}

// Never those of the machine's root.
TEST_F(ExamTest, PicturesWithoutAFolderAreAnError) {
  const absl::Status status = OpenExam(dir_.path() + "/rows.jsonl", "", 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("rows.jsonl: names a.png, expected the folder of its pictures"));
}

TEST_F(ExamTest, NamesAPictureThatDoesNotDecode) {
  std::ofstream(dir_.path() + "/a.png") << "no picture";
  const absl::Status status = OpenExam(dir_.path() + "/rows.jsonl", dir_.path(), 0).status();
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr(dir_.path() + "/a.png"));
}

TEST_F(ExamTest, AnAnswerThatWasGivenIsNotAskedForAgain) {
  const auto model = model::Llava::Load(kCheckpoint, {});
  ASSERT_TRUE(model.ok()) << model.status();
  auto answerer = Answerer::Make(**model, kCheckpoint, "vicuna_v1");
  ASSERT_TRUE(answerer.ok()) << answerer.status();
  const std::string file = dir_.path() + "/answers/a.jsonl";
  const auto first = TakeExam(*answerer, Open(), file);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->right, std::vector<bool>(3, false));
  EXPECT_EQ(first->scores.at("all").asked, 3);
  // Interrupted in the third; the first was right, says the file.
  std::ofstream(file) << "{\"answer\": \"Nothing.\"}\n{\"answer\": \"x\"}\n{\"ans";
  const auto second = TakeExam(*answerer, Open(), file);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->right, (std::vector<bool>{true, false, false}));
  EXPECT_EQ(second->scores.at("all").right, 1);
  std::ifstream in(file);
  int lines = 0;
  for (std::string line; std::getline(in, line);) ++lines;
  EXPECT_EQ(lines, 3);
}

}  // namespace
}  // namespace llava::training
