#include "training/evaluate/benchmarks/vqa_benches.h"

#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"

namespace llava::training {
namespace {

constexpr char kQuestions[] =
    "{\"question_id\": 1, \"image\": \"a.jpg\", \"text\": \"What?\\nShort.\", \"category\": "
    "\"default\"}\n"
    "{\"question_id\": 2, \"image\": \"b.jpg\", \"text\": \"Who?\\nShort.\"}\n";

std::string Ten(const std::string& answer) {
  std::string list = "[";
  for (int i = 0; i < 10; ++i) list += (i == 0 ? "" : ",") + ("{\"answer\": \"" + answer + "\"}");
  return list + "]";
}

TEST(VqaBenches, GqaIsExact) {
  test::BenchFolder folder;
  folder.Add("llava_gqa_testdev_balanced.jsonl", kQuestions);
  const auto blind = OpenGqa({.data = folder.path()});
  ASSERT_TRUE(blind.ok()) << blind.status();
  EXPECT_TRUE(blind->score(UnitsOf(blind->grade({"x", "y"}), 1)).empty());
  folder.Add("data/testdev_balanced_questions.json",
             R"({"1": {"answer": "dog", "types": {"structural": "query", "semantic": "obj"}},
                 "2": {"answer": "man"}})");
  const auto bench = OpenGqa({.data = folder.path()});
  const auto grades = bench->grade({"Dog.", "a man"});
  const ScoreTable table = bench->score(UnitsOf(grades, 1));
  EXPECT_DOUBLE_EQ(table.at("query"), 1);
  EXPECT_DOUBLE_EQ(table.at("total"), 0.5);
  EXPECT_EQ(bench->submission({"Dog.", "man"}).at("testdev_balanced_predictions.json"),
            R"([{"questionId":1,"prediction":"dog"},{"questionId":2,"prediction":"man"}])");
}

TEST(VqaBenches, VqaSendsAnAnswerToEachQuestionOfTheTest) {
  test::BenchFolder folder;
  folder.Add("llava_vqav2_mscoco_test-dev2015.jsonl", kQuestions);
  folder.Add(
      "llava_vqav2_mscoco_test2015.jsonl",
      std::string(R"({"question_id": 9, "image": "c.jpg", "text": "x"})") + "\n" + kQuestions);
  folder.Add("v2_mscoco_val2014_annotations.json",
             R"({"annotations": [{"question_id": 1, "answer_type": "number", "answers": )" +
                 Ten("2") + "}]}");
  const auto bench = OpenVqaV2({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(bench->questions[0].images[0], folder.path() + "/test2015/a.jpg");
  const auto grades = bench->grade({"Two.", "?"});
  EXPECT_DOUBLE_EQ(grades[0].value, 1);
  EXPECT_FALSE(grades[1].known);
  EXPECT_EQ(bench->submission({"Two.", "A man"}).at("vqav2_test.json"),
            R"([{"question_id":9,"answer":""},{"question_id":1,"answer":"2"},)"
            R"({"question_id":2,"answer":"man"}])");
}

TEST(VqaBenches, VizWizNamesPictures) {
  test::BenchFolder folder;
  folder.Add("llava_test.jsonl", kQuestions);
  folder.Add("val.json", R"([{"image": "b.jpg", "answers": )" + Ten("cup") + "}]");
  const auto bench = OpenVizWiz({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_DOUBLE_EQ(bench->score(UnitsOf(bench->grade({"x", "a cup"}), 1)).at("total"), 1);
  EXPECT_EQ(bench->submission({"Unanswerable", "Cup."}).at("vizwiz_test.json"),
            R"([{"image":"a.jpg","answer":"unanswerable"},{"image":"b.jpg","answer":"cup"}])");
}

TEST(VqaBenches, TextVqaFindsTheQuestionInThePrompt) {
  EXPECT_EQ(TextVqaQuestion("What Brand?\nShort."), "what brand?");
  EXPECT_EQ(TextVqaQuestion("What?\nReference OCR token: A\nShort."), "what?");
  EXPECT_EQ(TextVqaQuestion("Reference OCR token: A\nWhat?\nShort."), "what?");
  EXPECT_EQ(TextVqaQuestion("OCR tokens: A. Question: Who? Short answer:"), "who?");
  test::BenchFolder folder;
  folder.Add("llava_textvqa_val_v051_ocr.jsonl", kQuestions);
  folder.Add("TextVQA_0.5.1_val.json",
             R"({"data": [{"image_id": 1, "question": "WHAT?", "answers": ["a","a","b","b","b","b",
                 "c","d","e","f"]}, {"image_id": "2", "question": "no", "answers": []}]})");
  const auto bench = OpenTextVqa({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  const auto grades = bench->grade({"a", "b"});
  EXPECT_DOUBLE_EQ(grades[0].value, 0.6);  // two said so; an article is nothing, for all alike
  EXPECT_FALSE(grades[1].known);
  EXPECT_DOUBLE_EQ(bench->grade({"B", "b"})[0].value, 1);
}

TEST(VqaBenches, MmVetIsSentAsAWhole) {
  test::BenchFolder folder;
  folder.Add("llava-mm-vet.jsonl", kQuestions);
  const auto bench = OpenMmVet({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(bench->submission({"x", "y"}).at("mm-vet.json"), R"({"v1_1":"x","v1_2":"y"})");
}

TEST(VqaBenches, MmVetsGraderScoresByCapability) {
  test::BenchFolder folder;
  folder.Add("mm-vet.json",
             R"({"v1_0": {"capability": ["ocr", "math"]}, "v1_1": {"capability": ["rec"]},
                 "v1_2": {"capability": ["ocr"]}, "v1_3": {"capability": ["rec"]}})");
  folder.Add("grade.json", R"({"v1_0": {"model": ["gpt-4-0613"], "score": [0.5, 0.7]},
                               "v1_1": {"score": [1.0]}, "v1_2": {"score": [0.0]}})");
  const std::string file = folder.path() + "/grade.json";
  const auto grades = ReadMmVetGrades(file, {.data = folder.path()});
  ASSERT_TRUE(grades.ok()) << grades.status();
  const ScoreTable table = MeanByKind(UnitsOf(*grades, 1));
  EXPECT_DOUBLE_EQ(table.at("ocr"), 0.3);
  EXPECT_DOUBLE_EQ(table.at("math"), 0.6);
  EXPECT_DOUBLE_EQ(table.at("rec"), 1);  // of those that were graded
  EXPECT_DOUBLE_EQ(table.at("total"), 1.6 / 3);
  EXPECT_FALSE(grades->back().known);
  folder.Add("grade.json", R"({"v1_0": {"score": [7]}})");
  EXPECT_EQ(ReadMmVetGrades(file, {.data = folder.path()}).status().message(),
            file + ": v1_0: score: expected 0 to 1, found 7");
}

}  // namespace
}  // namespace llava::training
