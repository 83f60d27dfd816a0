#include "training/evaluate/score.h"

#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "training/data/scenes/write.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

TEST(ScoreTest, ForgivesCaseSpaceAndFullStop) {
  EXPECT_TRUE(IsRight("a red circle", " A red  circle. "));
  EXPECT_TRUE(IsRight("CAT", "cat"));
  EXPECT_TRUE(IsRight("7", "7"));
  EXPECT_FALSE(IsRight("top", "top left"));
  EXPECT_FALSE(IsRight("yes", ""));
  EXPECT_FALSE(IsRight("a red circle", "red circle"));
}

TEST(ScoreTest, ReadsEveryQuestionOfAScene) {
  test::TempDir dir;
  ASSERT_TRUE(scenes::WriteScenes({.count = 8, .seed = 3, .turns = 4}, dir.path()).ok());
  const auto items = ReadEvaluationItems(dir.path() + "/instruct.jsonl", 0);
  ASSERT_TRUE(items.ok()) << items.status();
  EXPECT_EQ(items->size(), 32u);
  for (const EvaluationItem& item : *items) {
    EXPECT_NE(item.kind, "all");
    EXPECT_EQ(item.images.size(), 1u);
    EXPECT_EQ(item.question.find("<image>"), std::string::npos);
    EXPECT_FALSE(item.answer.empty());
  }
  EXPECT_EQ(ReadEvaluationItems(dir.path() + "/instruct.jsonl", 2)->size(), 8u);
  EXPECT_EQ(ReadEvaluationItems(dir.path() + "/captions.jsonl", 1)->front().kind, "all");
  EXPECT_EQ(ReadEvaluationItems(dir.path() + "/none", 0).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(ScoreTest, EveryQuestionOfARowIsAskedAloneAndWithoutPlaceholders) {
  test::TempDir dir;
  const std::string file = dir.path() + "/rows.jsonl";
  std::ofstream(file)
      << R"({"image": ["a.png", "b.png"], "kinds": ["first", 7], "conversations": [)"
      << R"({"from": "human", "value": "<image>\n<image> Which?"}, )"
      << R"({"from": "gpt", "value": "a"}, {"from": "human", "value": "And? "}, )"
      << R"({"from": "gpt", "value": "b"}, {"from": "human", "value": "More?"}, )"
      << R"({"from": "gpt", "value": "c"}]})" << "\n";
  const auto items = ReadEvaluationItems(file, 0);
  ASSERT_TRUE(items.ok()) << items.status();
  ASSERT_EQ(items->size(), 3u);
  const std::vector<std::vector<std::string>> expected = {
      {"Which?", "a", "first"}, {"And?", "b", "all"}, {"More?", "c", "all"}};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const EvaluationItem& item = (*items)[i];
    EXPECT_EQ((std::vector{item.question, item.answer, item.kind}), expected[i]);
    EXPECT_EQ(item.images, (std::vector<std::string>{"a.png", "b.png"}));
  }
}

TEST(ScoreTest, ABadRowIsNotPassedOver) {
  test::TempDir dir;
  const std::string file = dir.path() + "/rows.jsonl";
  std::ofstream(file) << R"({"conversations": [{"from": "human", "value": "Which?"}, )"
                      << R"({"from": "gpt", "value": "a"}]})" << "\n{\"conversations\": 7}\n";
  EXPECT_EQ(ReadEvaluationItems(file, 0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ScoreTest, AddsUp) {
  const Scores scores = {{"colour", {4, 3}}, {"count", {6, 6}}};
  EXPECT_THAT(ToText(scores), HasSubstr("colour        75.00%  3 of 4"));
  EXPECT_THAT(ToText(scores), HasSubstr("total         90.00%  9 of 10"));
  EXPECT_EQ(Shares(scores).at("total"), 0.9);
  EXPECT_EQ(KindScore().share(), 0.0);
}

}  // namespace
}  // namespace llava::training
