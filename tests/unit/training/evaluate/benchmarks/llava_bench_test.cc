#include "training/evaluate/benchmarks/llava_bench.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

class LlavaBenchTest : public ::testing::Test {
 protected:
  LlavaBenchTest() {
    test::AddLlavaBench(&folder_);
    options_.data = folder_.path();
  }

  test::BenchFolder folder_;
  BenchOptions options_;
};

TEST_F(LlavaBenchTest, TheJudgeIsToldCaptionsBoxesAndBothAnswers) {
  const auto bench = OpenLlavaBenchCoco(options_);
  ASSERT_TRUE(bench.ok()) << bench.status();
  ASSERT_EQ(bench->judged.size(), 2u);
  EXPECT_EQ(JudgePrompt(bench->judged[0], "A lion.", /*swapped=*/false),
            "[Context]\nOne.\nTwo.\n\ncat: [0.63, 1.0, 0.5, 0.125]\n\n"
            "[Question]\nWhat is it?\n\n"
            "[Assistant 1]\nA cat.\n\n[End of Assistant 1]\n\n"
            "[Assistant 2]\nA lion.\n\n[End of Assistant 2]\n\n"
            "[System]\nRate.\n\n");
  EXPECT_THAT(JudgePrompt(bench->judged[1], "A wolf.", /*swapped=*/true),
              HasSubstr("[Helper 1]\nA wolf.\n\n[End of Helper 1]\n\n[Helper 2]\nA dog.\n"));
  EXPECT_EQ(bench->judged[0].reference_id, boost::json::value("x"));
  EXPECT_EQ(bench->judged[1].reference_id, boost::json::value(1));
  EXPECT_EQ(bench->questions[0].images[0], folder_.path() + "/images/1.jpg");
  EXPECT_EQ(bench->questions[1].prompt, "Describe it.");
  std::filesystem::rename(folder_.path() + "/images/1.jpg",
                          folder_.path() + "/images/COCO_val2014_1.jpg");
  EXPECT_EQ(OpenLlavaBenchCoco(options_)->questions[0].images[0],
            folder_.path() + "/images/COCO_val2014_1.jpg");
  EXPECT_EQ(bench->max_tokens, 1024);
}

TEST_F(LlavaBenchTest, InTheWildHasRulesOfItsOwnAndNoBoxes) {
  folder_.Add("questions.jsonl",
              R"({"question_id": 0, "image": "1.jpg", "text": "Q", "category": "conv"})");
  folder_.Add("answers_gpt4.jsonl", R"({"question_id": 0, "text": "A", "answer_id": "y"})");
  folder_.Add("context.jsonl", R"({"image": "1.jpg", "caption": "A long text."})");
  const auto bench = OpenLlavaBenchWild(options_);
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(JudgePrompt(bench->judged[0], "B", false),
            "[Context]\nA long text.\n\n[Question]\nQ\n\n[Assistant 1]\nA\n\n[End of Assistant 1]"
            "\n\n[Assistant 2]\nB\n\n[End of Assistant 2]\n\n[System]\nWild.\n\n");
  EXPECT_EQ(bench->judged[0].category, "llava_bench_conv");
  EXPECT_EQ(bench->questions[0].category, "conv");
}

TEST_F(LlavaBenchTest, QuestionsWithoutPicturesTakeTheDefaultRule) {
  folder_.Add("question.jsonl", R"({"question_id": 1, "text": "Q", "category": "generic"})");
  folder_.Add("answer_gpt35.jsonl", R"({"question_id": 1, "text": "A", "answer_id": "y"})");
  const auto bench = OpenVicunaBench(options_);
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(JudgePrompt(bench->judged[0], "B", false),
            "[Question]\nQ\n\n[Assistant 1]\nA\n\n[End of Assistant 1]\n\n[Assistant 2]\nB\n\n"
            "[End of Assistant 2]\n\n[System]\nDefault.\n\n");
  EXPECT_TRUE(bench->questions[0].images.empty());
}

TEST_F(LlavaBenchTest, WhatIsMissingIsNamed) {
  folder_.Add("qa90_gpt4_answer.jsonl", R"({"question_id": 0, "text": "A"})");
  EXPECT_THAT(std::string(OpenLlavaBenchCoco(options_).status().message()),
              HasSubstr("has no answer to question 1"));
  test::AddLlavaBench(&folder_);
  folder_.Add("rule.json", "{}");
  EXPECT_THAT(std::string(OpenLlavaBenchCoco(options_).status().message()),
              HasSubstr("has no rule 'conv'"));
  test::AddLlavaBench(&folder_);
  folder_.Add("sub/caps_boxes_coco2014_val_80.jsonl", R"({"image": "3.jpg", "captions": []})");
  EXPECT_THAT(std::string(OpenLlavaBenchCoco(options_).status().message()),
              HasSubstr("no context has its picture '1.jpg'"));
}

}  // namespace
}  // namespace llava::training
