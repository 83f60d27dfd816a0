#include "training/evaluate/answer_text.h"

#include "gtest/gtest.h"

namespace llava::training {
namespace {

TEST(AnswerText, PopeLooksForNoInTheFirstSentence) {
  EXPECT_TRUE(PopeSaysYes("Yes, there is."));
  EXPECT_TRUE(PopeSaysYes("There is a dog. It is not red."));
  EXPECT_TRUE(PopeSaysYes("Nothing"));  // whole words
  EXPECT_TRUE(PopeSaysYes(""));
  EXPECT_FALSE(PopeSaysYes("No, there isn't"));
  EXPECT_FALSE(PopeSaysYes("There is no dog"));
  EXPECT_FALSE(PopeSaysYes("I do not see one."));
}

TEST(AnswerText, MmeLooksAtFourCharacters) {
  EXPECT_EQ(MmeSays("Yes"), "yes");
  EXPECT_EQ(MmeSays("NO, it is not"), "no");
  EXPECT_EQ(MmeSays("It is no"), "other");
  EXPECT_EQ(MmeSays("Not at all"), "no");  // as the original's
  EXPECT_EQ(MmeSays(""), "other");
}

TEST(AnswerText, ScienceQaTakesALetterOrOneSentence) {
  EXPECT_EQ(ScienceQaIndex("B", 4), 1);
  EXPECT_EQ(ScienceQaIndex("C. Because", 4), 2);
  EXPECT_EQ(ScienceQaIndex("It melts. The answer is D.", 4), 3);
  EXPECT_EQ(ScienceQaIndex("The answer is B, because", 4), 1);   // any character
  EXPECT_EQ(ScienceQaIndex("The answer is B\nbecause", 4), -1);  // but a line end
  EXPECT_EQ(ScienceQaIndex("The answer is B", 4), -1);
  EXPECT_EQ(ScienceQaIndex("The answer is A. The answer is B.", 4), -1);
  EXPECT_EQ(ScienceQaIndex("E", 4), -1);  // no such choice
  EXPECT_EQ(ScienceQaIndex("F", 9), -1);
  EXPECT_EQ(ScienceQaIndex("The answer is F.", 9), -1);
  EXPECT_EQ(ScienceQaLetter("The answer is F."), 'F');
  EXPECT_EQ(ScienceQaIndex("b", 4), -1);
  EXPECT_EQ(ScienceQaIndex("B.", 4), -1);
  EXPECT_EQ(ScienceQaIndex("", 4), -1);
}

TEST(AnswerText, ReviewsBeginWithTwoScores) {
  EXPECT_EQ(ReviewScores("8 9\nBecause"), std::pair(8.0, 9.0));
  EXPECT_EQ(ReviewScores("8.5,9"), std::pair(8.5, 9.0));
  EXPECT_EQ(ReviewScores("8 9 \nBecause"), std::nullopt);  // three parts
  for (const char* none : {"", "Both are good.\n8 9", "8", "8 nine", "-1 -1", "nan 5", "inf 5"}) {
    EXPECT_EQ(ReviewScores(none), std::nullopt) << none;
  }
}

TEST(AnswerText, VqaAnswersHaveANormalForm) {
  EXPECT_EQ(NormalVqaAnswer("The Cat's  Hat."), "cat 's hat");
  EXPECT_EQ(NormalVqaAnswer("two, DOGS?"), "2 dogs");
  EXPECT_EQ(NormalVqaAnswer("dont"), "don't");
  EXPECT_EQ(NormalVqaAnswer("couldnt've"), "couldn't've");
  EXPECT_EQ(NormalVqaAnswer("couldntve"), "couldntve");  // two are missing
  EXPECT_EQ(NormalVqaAnswer("somebody'd"), "somebodyd");
  EXPECT_EQ(NormalVqaAnswer("3.5"), "3.5");
  EXPECT_EQ(NormalVqaAnswer("st. john"), "st john");
  EXPECT_EQ(NormalVqaAnswer("red-white"), "red white");
  EXPECT_EQ(NormalVqaAnswer("red - white"), "red white");
  EXPECT_EQ(NormalVqaAnswer("a - b-c"), "bc");  // one beside a space removes all
  EXPECT_EQ(NormalVqaAnswer("none"), "0");
  EXPECT_EQ(NormalVqaAnswer(" \n"), "");
}

TEST(AnswerText, ThreePeopleWhoAgreeAreEnough) {
  std::vector<std::string> people(10, "blue");
  EXPECT_DOUBLE_EQ(VqaAccuracy("Blue.", people), 1);
  people = {"red", "red", "red", "b", "c", "d", "e", "f", "g", "h"};
  EXPECT_DOUBLE_EQ(VqaAccuracy("red", people), (7 * 1.0 + 3 * 2.0 / 3) / 10);
  EXPECT_DOUBLE_EQ(VqaAccuracy("b", people), 9.0 / 3 / 10);
  EXPECT_DOUBLE_EQ(VqaAccuracy("z", people), 0);
  EXPECT_DOUBLE_EQ(VqaAccuracy("z", {}), 0);
}

TEST(AnswerText, ChoicesAreLetters) {
  EXPECT_EQ(ChoiceLetter("B", 4), 'B');
  EXPECT_EQ(ChoiceLetter(" (C) the third", 4), 'C');
  EXPECT_EQ(ChoiceLetter("D. last", 4), 'D');
  EXPECT_EQ(ChoiceLetter("D", 3), std::nullopt);
  EXPECT_EQ(ChoiceLetter("Because", 4), std::nullopt);
  EXPECT_EQ(ChoiceLetter("", 4), std::nullopt);
}

}  // namespace
}  // namespace llava::training
