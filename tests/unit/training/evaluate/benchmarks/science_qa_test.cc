#include "training/evaluate/benchmarks/science_qa.h"

#include <boost/json/parse.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"

namespace llava::training {
namespace {

using testing::ElementsAre;

constexpr char kProblems[] = R"({
  "5": {"question": "Which  Question: is it?", "choices": ["a cat", "a dog"], "answer": 1,
        "hint": "", "image": null, "subject": "language science", "grade": "grade12"},
  "7": {"question": "What is this?", "choices": ["red", "blue", "green"], "answer": 0,
        "hint": " Look. ", "image": "image.png", "subject": "natural science", "grade": "grade3"},
  "9": {"question": "Unused?", "choices": ["x"], "answer": 0, "hint": "", "image": null,
        "subject": "social science", "grade": "grade7"}})";

class ScienceQaTest : public ::testing::Test {
 protected:
  ScienceQaTest() {
    folder_.Add("problems.json", kProblems);
    folder_.Add("pid_splits.json", R"({"test": ["7", "5"], "val": ["9"]})");
    options_.data = folder_.path();
  }

  test::BenchFolder folder_;
  BenchOptions options_;
};

TEST_F(ScienceQaTest, PromptsAreThoseOfTheConverter) {
  const auto bench = OpenScienceQa(options_);
  ASSERT_TRUE(bench.ok()) << bench.status();
  ASSERT_EQ(bench->questions.size(), 2u);
  const BenchQuestion& picture = bench->questions[0];
  EXPECT_EQ(picture.prompt, "What is this?\nContext: Look.\nOptions: (A) red (B) blue (C) green");
  EXPECT_EQ(picture.recorded, "<image>\n" + picture.prompt);
  EXPECT_EQ(picture.images[0], folder_.path() + "/images/test/7/image.png");
  EXPECT_EQ(bench->questions[1].prompt, "Which is it?\nContext: N/A\nOptions: (A) a cat (B) a dog");
  options_.format = "CQM-A";
  options_.letter_only = true;
  EXPECT_EQ(OpenScienceQa(options_)->questions[1].prompt,
            "Context: N/A\nQuestion: Which Question: is it?\nOptions: (A) a cat (B) a dog\nAnswer "
            "with the option's letter from the given choices directly.");
  options_.format = "XYZ-A";
  EXPECT_FALSE(OpenScienceQa(options_).ok());
}

TEST_F(ScienceQaTest, CountsByTheGroupsOfThePaper) {
  const auto bench = OpenScienceQa(options_);
  const std::vector<Grade> grades = bench->grade({"The answer is A.", "The answer is C."});
  EXPECT_EQ(grades[0].value, 1);
  EXPECT_THAT(grades[0].kinds, ElementsAre("NAT", "TXT", "IMG", "G1-6"));
  EXPECT_EQ(grades[1].value, 0);
  EXPECT_EQ(grades[1].said, "");  // no such choice
  EXPECT_THAT(grades[1].kinds, ElementsAre("LAN", "NO", "G7-12"));
  EXPECT_DOUBLE_EQ(bench->score(UnitsOf(grades, 1)).at("total"), 0.5);
}

TEST_F(ScienceQaTest, EnsemblesDrawNothingAtRandom) {
  ScienceQaEnsemble ensemble;
  ensemble.theirs = {{"1", "The answer is B."}, {"2", "I cannot see it."}};
  EXPECT_EQ(EnsembleAnswer(ensemble, "1", "The answer is A.", 4), "B");
  EXPECT_EQ(EnsembleAnswer(ensemble, "2", "The answer is A.", 4), "A");
  EXPECT_EQ(EnsembleAnswer(ensemble, "2", "No idea", 4), "");
  EXPECT_EQ(EnsembleAnswer(ensemble, "3", "The answer is C.", 4), "C");
  ensemble.judge = true;
  ensemble.asked_again = {{"1", "The answer is D."}, {"2", "Unclear."}};
  EXPECT_EQ(EnsembleAnswer(ensemble, "1", "The answer is A.", 4), "D");
  EXPECT_EQ(EnsembleAnswer(ensemble, "1", "The answer is B.", 4), "B");  // both say so
  EXPECT_EQ(EnsembleAnswer(ensemble, "2", "The answer is A.", 4), "A");
}

TEST_F(ScienceQaTest, WhatIsWrongIsNamed) {
  folder_.Add("problems.json", R"({"7": {"question": "Q", "choices": ["a"], "answer": 1}})");
  EXPECT_EQ(OpenScienceQa(options_).status().message(),
            "problem 7: answer: expected the number of a choice");
  options_.split = "train";
  EXPECT_FALSE(OpenScienceQa(options_).ok());
}

}  // namespace
}  // namespace llava::training
