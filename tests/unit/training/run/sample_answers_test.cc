#include "training/run/sample_answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "training/recipe/recipe.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

constexpr char kFolder[] = "demo/architecture";
constexpr char kPicture[] = "tests/golden/data/images/landscape.png";

std::unique_ptr<model::Llava> Untrained() {
  Recipe recipe;
  recipe.model.from_scratch = kFolder;
  auto model = LoadTrainingModel(recipe, at::kCPU);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

TEST(SampleAnswersTest, TheQuestionIsTheTextWithoutPlaces) {
  EXPECT_EQ(TextOf("<image>\nWhat is it?"), "What is it?");
  EXPECT_EQ(TextOf("What is it?\n<image>\n<image>"), "What is it?");
}

TEST(SampleAnswersTest, EachQuestionGetsAnAnswerOrAReason) {
  const auto model = Untrained();
  SampleQuestions questions;
  questions.chat_template = "vicuna_v1";
  questions.questions = {{{kPicture}, "What is it?", "never this", "", false},
                         {{"lost.png"}, "What is it?", "red", "", false}};
  const auto asked = AskSamples(*model, kFolder, questions, [] { return false; });
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[0].question, "What is it?");
  EXPECT_FALSE(asked[0].right);
  EXPECT_THAT(asked[1].answer, HasSubstr("cannot be asked: "));
  EXPECT_THAT(asked[1].answer, HasSubstr("lost.png"));
}

TEST(SampleAnswersTest, StopsBetweenQuestions) {
  const auto model = Untrained();
  SampleQuestions questions;
  questions.questions.resize(3);
  for (SampleAnswer& question : questions.questions) question.question = "Hi";
  bool stop = false;
  int asked_for = 0;
  const auto asked = AskSamples(*model, kFolder, questions, [&] {
    stop = ++asked_for > 3;
    return stop;
  });
  EXPECT_LT(asked.size(), 3u);
}

TEST(SampleAnswersTest, NobodyIsAskedNothing) {
  EXPECT_TRUE(AskSamples(*Untrained(), "/no/such/folder", {}, [] { return false; }).empty());
}

}  // namespace
}  // namespace llava::training
