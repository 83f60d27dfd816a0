#include "training/evaluate/benchmarks/question_files.h"

#include <boost/json/serialize.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"
#include "training/evaluate/benchmarks/vqa_benches.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

std::string Id(const BenchQuestion& question) { return boost::json::serialize(question.id); }

TEST(QuestionFiles, GqaIsAskedFromItsAuthorsFile) {
  test::BenchFolder folder;
  folder.Add("questions/testdev_balanced_questions.json",
             R"({"201": {"question": "Is it dark?", "imageId": "n16", "answer": "no",
                         "types": {"structural": "verify"}},
                 "105": {"question": "Who?", "imageId": "n2", "answer": "man"}})");
  const auto bench = OpenGqa({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  ASSERT_EQ(bench->questions.size(), 2u);
  EXPECT_EQ(Id(bench->questions[0]), "\"201\"");
  EXPECT_EQ(bench->questions[0].prompt,
            "Is it dark?\nAnswer the question using a single word or phrase.");
  EXPECT_EQ(bench->questions[1].images[0], folder.path() + "/images/n2.jpg");
  EXPECT_DOUBLE_EQ(bench->score(UnitsOf(bench->grade({"No.", "dog"}), 1)).at("total"), 0.5);
  EXPECT_EQ(bench->submission({"No.", "Dog"}).at("testdev_balanced_predictions.json"),
            R"([{"questionId":"201","prediction":"no"},{"questionId":"105","prediction":"dog"}])");
}

TEST(QuestionFiles, LlavasFileComesFirstWhereverItLies) {
  test::BenchFolder folder;
  folder.Add("testdev_balanced_questions.json",
             R"({"7": {"question": "Official?", "imageId": "n1", "answer": "yes"}})");
  folder.Add("below/llava_gqa_testdev_balanced.jsonl",
             "{\"question_id\": \"7\", \"image\": \"n1.jpg\", \"text\": \"Theirs?\"}\n");
  const auto bench = OpenGqa({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(bench->questions[0].prompt, "Theirs?");
  EXPECT_DOUBLE_EQ(bench->grade({"Yes"})[0].value, 1);
}

TEST(QuestionFiles, VqaV2NamesPicturesAsCocoDoes) {
  test::BenchFolder folder;
  folder.Add("v2_OpenEnded_mscoco_test-dev2015_questions.json",
             R"({"data_subtype": "test-dev2015", "questions":
                 [{"image_id": 262144, "question": "What?", "question_id": 262144000}]})");
  folder.Add("v2_OpenEnded_mscoco_test2015_questions.json",
             R"({"data_subtype": "test2015", "questions":
                 [{"image_id": 1, "question": "Who?", "question_id": 1000},
                  {"image_id": 262144, "question": "What?", "question_id": 262144000}]})");
  const auto bench = OpenVqaV2({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  ASSERT_EQ(bench->questions.size(), 1u);
  EXPECT_EQ(bench->questions[0].images[0],
            folder.path() + "/test2015/COCO_test2015_000000262144.jpg");
  EXPECT_EQ(bench->submission({"A dog."}).at("vqav2_test.json"),
            R"([{"question_id":1000,"answer":""},{"question_id":262144000,"answer":"dog"}])");

  test::BenchFolder labelled;
  labelled.Add("v2_OpenEnded_mscoco_val2014_questions.json",
               R"({"data_subtype": "val2014", "questions":
                   [{"image_id": 42, "question": "What?", "question_id": 42000}]})");
  labelled.Add("v2_mscoco_val2014_annotations.json",
               R"({"annotations": [{"question_id": 42000, "answer_type": "other", "answers":
                   [{"answer": "dog"}, {"answer": "dog"}, {"answer": "dog"},
                    {"answer": "cat"}]}]})");
  const auto val = OpenVqaV2({.data = labelled.path()});
  ASSERT_TRUE(val.ok()) << val.status();
  EXPECT_EQ(val->questions[0].images[0],
            labelled.path() + "/val2014/COCO_val2014_000000000042.jpg");
  EXPECT_DOUBLE_EQ(val->grade({"dog"})[0].value, (3 * 2.0 / 3 + 1) / 4);
}

TEST(QuestionFiles, VizWizHasWordsForWhatCannotBeTold) {
  test::BenchFolder folder;
  folder.Add("Annotations/val.json",
             R"([{"image": "VizWiz_val_00000000.jpg", "question": "What is this?", "answers":
                  [{"answer": "cup"}, {"answer": "cup"}, {"answer": "cup"}, {"answer": "cup"}]}])");
  const auto bench = OpenVizWiz({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(bench->questions[0].prompt,
            "What is this?\nWhen the provided information is insufficient, respond with "
            "'Unanswerable'.\nAnswer the question using a single word or phrase.");
  EXPECT_EQ(bench->questions[0].images[0], folder.path() + "/val/VizWiz_val_00000000.jpg");
  EXPECT_DOUBLE_EQ(bench->grade({"A cup."})[0].value, 1);
}

TEST(QuestionFiles, TextVqaHasTheLettersThatWereSeen) {
  test::BenchFolder folder;
  folder.Add("TextVQA_0.5.1_val.json",
             R"({"data": [{"image_id": "ab", "question_id": 5, "question": "what Brand?",
                           "answers": ["x", "x", "x", "x"]}]})");
  const auto plain = OpenTextVqa({.data = folder.path()});
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->questions[0].prompt,
            "what Brand?\nAnswer the question using a single word or phrase.");
  folder.Add("TextVQA_Rosetta_OCR_v0.2_val.json",
             R"({"data": [{"image_id": "ab", "ocr_tokens": ["DAKOTA", "DIGITAL"]}]})");
  const auto bench = OpenTextVqa({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(bench->questions[0].prompt,
            "what Brand?\nReference OCR token: DAKOTA, DIGITAL\nAnswer the question using a single "
            "word or phrase.");
  EXPECT_EQ(Id(bench->questions[0]), "\"ab\"");
  EXPECT_EQ(bench->questions[0].images[0], folder.path() + "/train_images/ab.jpg");
  EXPECT_DOUBLE_EQ(bench->grade({"X."})[0].value, 1);
}

TEST(QuestionFiles, MmVetIsSentBackByItsOwnNames) {
  test::BenchFolder folder;
  folder.Add("mm-vet.json",
             R"({"v1_0": {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1"},
                 "v1_12": {"imagename": "v1_1.png", "question": "Who?", "answer": "x"}})");
  const auto bench = OpenMmVet({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(bench->questions[0].prompt, "What is x?");
  EXPECT_EQ(bench->questions[0].images[0], folder.path() + "/images/v1_0.png");
  EXPECT_EQ(bench->submission({"1", "me"}).at("mm-vet.json"), R"({"v1_0":"1","v1_12":"me"})");
}

TEST(QuestionFiles, NamesWhatIsMissing) {
  test::BenchFolder folder;
  const std::string nothing(OpenGqa({.data = folder.path()}).status().message());
  EXPECT_THAT(nothing, HasSubstr("llava_gqa_testdev_balanced.jsonl or testdev_balanced_questions"));
  folder.Add("testdev_balanced_questions.json", R"({"1": {"question": "What?"}})");
  EXPECT_THAT(std::string(OpenGqa({.data = folder.path()}).status().message()),
              HasSubstr("imageId: expected a text"));
  folder.Add("mm-vet.json", R"({"12": {"question": "Q", "imagename": "a"}, "x": {}})");
  EXPECT_FALSE(OpenMmVet({.data = folder.path()}).ok());
}

}  // namespace
}  // namespace llava::training
