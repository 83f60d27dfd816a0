#include "training/generate/scene_truth.h"

#include "gtest/gtest.h"

namespace llava::training {
namespace {

// As sources.cc tells of a scene.
PictureContext Scene() {
  return {
      "1",
      "1.jpg",
      {"There is a big red circle at the top left, a small blue square at the right and the word "
       "CAT in the bottom row."},
      {{"big red circle", "[]"}, {"small blue square", "[]"}, {"text CAT", "[]"}}};
}

std::string Judge(const std::string& question, const std::string& answer) {
  ParsedReply reply;
  reply.dialogue = {{question, answer}};
  AcceptTrue(Scene(), &reply);
  return reply.rejected;
}

TEST(SceneTruth, WhatIsSoIsAccepted) {
  for (const auto& [question, answer] : {
           std::pair("What is there?", "There is a big red circle. There is no blue circle."),
           {"Where is it?", "The red circle is at the top left, the blue square at the right."},
           {"And?", "A big red circle is in the top left corner of the image."},
           {"What colour is the circle?", "Red."},
           {"What colour is the circle?", "The circle is red."},
           {"Is the circle red?", "Yes"},
           {"Is the circle blue?", "No"},
           {"Is there a green circle?", "No, there isn't."},
           {"Is there a circle?", "Yes, it is red."},
           {"How many shapes are there?", "There are two shapes in the picture."},
           {"How many shapes are there?", "Two"},
           {"How many shapes are red?", "One."},
           {"How many things?", "I see three objects: a circle, a square and a word."},
           {"What does it say?", "It says CAT."},
           {"What does it say?", "CAT"},
           {"Is there a word?", "Yes."},
           {"Is there a digit?", "No."},
           {"Where is the square?", "right"},
           {"Where is the circle?", "At the top left."},
           {"Where is the circle?", "It is in the top left corner."},
           {"Where is the square?", "It can be seen on the right of the image."},
           {"And?", "A big red circle is at the top left, a small blue square is at the right."},
           {"And?", "A red circle can be seen at the top left, a blue square at the right."},
           {"And?", "The circle at the top left is red and the square at the right is small."},
           {"What shape is the red object?", "A circle."},
           {"Which is bigger?", "The red object is a circle and it is left of the blue square."},
           {"What is left of the blue square?", "A red circle."},
           {"How many shapes would be left if all red shapes were taken away?",
            "There is a red circle and a blue square. Without the red circle, a blue square is "
            "left. "
            "So one shape would be left."},
           {"Which side has more?", "There is a red circle on the left. One of them is big."},
           {"What if?", "If a green star were there, there would be three shapes."},
       }) {
    EXPECT_EQ(Judge(question, answer), "") << question << " " << answer;
  }
}

TEST(SceneTruth, WhatIsNotSoIsUntrue) {
  for (const auto& [question, answer] : {
           std::pair("What is there?", "There is a red circle and a green square."),
           {"What is there?", "There is a small red circle."},
           {"What is there?", "There is a triangle."},
           {"What is there?", "There is a yellow star."},
           {"What is there?", "Something green."},
           {"What is there?", "There is no red circle."},
           {"Where is it?", "The red circle is at the bottom."},
           {"Where is it?", "A big red circle is at the right."},
           {"What colour is the circle?", "The circle is blue."},
           {"What colour is the circle?", "Blue."},
           {"What shape is the red object?", "The red object is a square."},
           {"What shape is the red object?", "A square."},
           {"How big is the circle?", "The red circle is small."},
           {"Is the circle big or small?", "Small."},
           {"Is the circle blue?", "Yes, it is."},
           {"Is there a green circle?", "Yes."},
           {"Is there a red circle?", "No."},
           {"How many shapes are there?", "There are three shapes in the picture."},
           {"How many shapes are there?", "Three"},
           {"How many shapes are red?", "Two."},
           {"What is there?", "There are 2 circles."},
           {"What does it say?", "It says DOG."},
           {"What does it say?", "The digit 7 is printed there."},
           {"What does it say?", "DOG"},
           {"Is there a digit?", "Yes."},
           {"Is there a word?", "No."},
           {"Where is the square?", "bottom left"},
           {"Where is the circle?", "At the top right."},
           {"Where is the circle?", "It is in the bottom left corner."},
           {"And?", "A big red circle is at the right, a small blue square is at the top left."},
           {"And?", "A red circle can be seen at the right, a blue square at the top left."},
           {"And?", "The circle at the top left is blue and the square at the right is small."},
           {"And?", "The circle at the top left is red and the square at the right is big."},
           {"Where?", "The red circle is right of the blue square."},
           {"Where?", "The red circle is below the blue square."},
       }) {
    EXPECT_EQ(Judge(question, answer), "untrue") << question << " " << answer;
  }
}

// A generator that says the same in many wordings, and one that lies in the same wordings.
struct Wording {
  const char* question;
  const char* honest;
  const char* lie;
};

TEST(SceneTruth, LiesAreFoundInManyWordingsAndTruthsAreNot) {
  for (const Wording& wording : {
           Wording{"What is there?", "On the left is a red circle.",
                   "On the right is a red circle."},
           {"What is there?", "In the top left corner there is a big red circle.",
            "In the bottom left corner there is a big red circle."},
           {"What is there?", "At the top left you can see a circle.",
            "At the top right you can see a circle."},
           {"What is there?", "On the left there's one circle and on the right is a square.",
            "On the left there's one circle and on the left is a square."},
           {"What is there?", "On the left side of the picture there is a red circle.",
            "On the right side of the picture there is a red circle."},
           {"What is there?", "A circle stands in the top row, and a square in the right column.",
            "A circle stands in the bottom row, and a square in the right column."},
           {"What is there?", "To the left of the blue square is a red circle.",
            "To the right of the blue square is a red circle."},
           {"What is there?", "Above the small blue square is a big circle.",
            "Below the small blue square is a big circle."},
           {"And?", "The circle is larger than the square.",
            "The circle is smaller than the square."},
           {"And?", "The blue square is much smaller than the red circle.",
            "The blue square is much bigger than the red circle."},
           {"And?", "The square is smaller in size than the circle.",
            "The square is as big as the circle."},
           {"And?", "The biggest shape is the red circle.",
            "The biggest shape is the blue square."},
           {"And?", "The blue square is the smallest shape.",
            "The red circle is the smallest shape."},
           {"Which is bigger, the circle or the square?", "The circle.", "The square."},
           {"Which is smaller, the circle or the square?", "The square.", "The circle."},
           {"Is the circle bigger than the square?", "Yes.", "No."},
           {"Is the square bigger than the circle?", "No, it is not.", "Yes, it is."},
           {"Is the circle red?", "Yes, it is.", "No, it is not."},
           {"Is the circle blue?", "No, it is not.", "Yes, it is."},
           {"Is the red shape a circle?", "Yes, that is so.", "No, that is not so."},
           {"Is the circle at the top left?", "Yes.", "No."},
           {"Is the circle on the right side?", "No, it is not.", "Yes."},
           {"Is there a red circle at the top left?", "Yes, there is.", "No, there is not."},
           {"Does the picture contain a red circle?", "Yes.", "No, it does not."},
           {"Does the image show any triangle?", "No.", "Yes."},
           {"Can a blue square be seen?", "Yes, it can.", "No, it can't."},
           {"What is on the left?", "A red circle.", "A blue square."},
           {"What is left of the blue square?", "A circle.", "A blue square."},
           {"And?", "The circle is not blue.", "The circle is not red."},
           {"And?", "The square isn't big.", "The square isn't small."},
           {"And?", "There is not a green circle.", "There isn't a red circle."},
       }) {
    EXPECT_EQ(Judge(wording.question, wording.honest), "") << wording.question << wording.honest;
    EXPECT_EQ(Judge(wording.question, wording.lie), "untrue") << wording.question << wording.lie;
  }
}

TEST(SceneTruth, ReadsWhatPeopleWriteOfPictures) {
  for (const Wording& wording :
       {Wording{"And?", "The circle is tucked into the upper left corner.",
                "The circle is tucked into the lower right corner."},
        {"And?", "Near the top edge of the image there is a circle.",
         "Near the bottom edge of the image there is a circle."},
        {"And?", "Towards the right-hand side, one can spot a blue square.",
         "Towards the left-hand side, one can spot a blue square."},
        {"And?", "The square is rather small.", "The square is rather large."},
        {"And?", "The circle is directly above the square.",
         "The circle is right below the square."},
        {"And?", "The circle is placed higher than the square.",
         "The circle is placed lower than the square."},
        {"And?", "The square is further to the right than the circle.",
         "The circle is further to the right than the square."},
        {"And?", "The square is on the right of the circle.",
         "The square is on the left of the circle."},
        {"And?", "The circle is noticeably larger than the square.",
         "The square is noticeably larger than the circle."},
        {"And?", "Two simple shapes are arranged across the picture.",
         "Three simple shapes are arranged across the picture."},
        {"And?", "Two shapes are visible.", "Two shapes are red."},
        {"Is the circle to the left or to the right of the square?", "To the left.",
         "To the right."},
        {"Is the circle bigger or smaller than the square?", "It is bigger.", "It is smaller."},
        {"Are the circle and the square the same colour?", "No, they are not.", "Yes, they are."},
        {"Do the circle and the square have different shapes?", "Yes.", "No."},
        {"Is there anything red?", "Yes, the circle.", "No, there is not."},
        {"Is there anything green?", "No.", "Yes, there is something."},
        {"Is there any text?", "Yes, there is some text.", "No, there is none."},
        {"And?", "No, the picture does not contain anything green.",
         "No, the picture does not contain anything red."},
        {"And?", "I don't see any triangle here.", "I don't see any circle here."},
        {"And?", "The picture has no digits.", "The picture has no letters or digits."},
        {"And?", "It does not contain a triangle.", "It does not contain a circle."},
        {"And?", "The word CAT is written in the bottom row.",
         "The word CAT is written in the top row."},
        {"And?", "Yes, both shapes differ in colour.", "Yes, both shapes have the same colour."},
        {"And?", "The circle rests along the upper edge of the picture.",
         "The circle rests along the lower edge of the picture."}}) {
    EXPECT_EQ(Judge(wording.question, wording.honest), "") << wording.question << wording.honest;
    EXPECT_EQ(Judge(wording.question, wording.lie), "untrue") << wording.question << wording.lie;
  }
  for (const char* honest :
       {"Not all of the shapes are red.", "All of the shapes are red and blue.",
        "The circle has no square near it.", "No square is red.",
        "There is no text other than CAT.", "There is no circle bigger than this one.",
        "Two shapes share the picture.", "There is a number of shapes.",
        "The circle has the same size as most."}) {
    EXPECT_EQ(Judge("And?", honest), "") << honest;
  }
}

TEST(SceneTruth, WhatMayBeMeantOtherwiseIsAccepted) {
  for (const auto& [question, answer] : {
           std::pair("And?", "The word CAT is at the bottom, there is a red circle, too."),
           {"And?", "On the left, the red circle is big."},
           {"And?", "The circle is not on the right side."},
           {"And?", "The circle is the biggest circle and the square is the biggest square."},
           {"Does the red circle have the same colour as another shape?", "No."},
           {"Is the circle bright?", "No, it is not."},
           {"Is the circle blue?", "No, the circle is red."},
           {"Is the circle at the top?", "No."},
           {"Is the circle on the left?", "No, it is at the top left."},
           {"And?", "In the middle there is nothing, and there is no circle on the right."},
           {"And?", "The circle is larger than the other shapes."},
       }) {
    EXPECT_EQ(Judge(question, answer), "") << question << " " << answer;
  }
}

TEST(SceneTruth, CountsAreOfWhatIsReadWhole) {
  for (const Wording& wording : {
           Wording{"Count the triangles.", "0", "2"},
           {"Count the red shapes.", "1", "2"},
           {"How many of the shapes are red?", "One.", "Two."},
           {"Are there two circles?", "No, just one.", "Yes, there are two circles."},
           {"And?", "There are two shapes in the picture.", "There are three shapes here."},
       }) {
    EXPECT_EQ(Judge(wording.question, wording.honest), "") << wording.question << wording.honest;
    EXPECT_EQ(Judge(wording.question, wording.lie), "untrue") << wording.question << wording.lie;
  }
  for (const auto& [question, answer] : {
           std::pair("How many colours are there?", "Two."),
           {"How many words are there?", "One."},
           {"How many corners does the square have?", "Four."},
           {"How many circles and squares are there?", "Two."},
           {"How many shapes have the same size as the circle?", "One."},
           {"How many shapes besides the circle are there?", "One."},
           {"How many other shapes are there?", "One."},
           {"How many shapes are not red?", "One, the square."},
           {"And?", "There is one shape that is small."},
           {"And?", "One shape has four corners."},
           {"Is there more than one circle?", "No."},
           {"Is there another circle?", "No."},
           {"Are there only red shapes?", "No."},
           {"Is there a circle that is small?", "No."},
       }) {
    EXPECT_EQ(Judge(question, answer), "") << question << " " << answer;
  }
}

TEST(SceneTruth, WhatIsAskedForAsMissingOrSupposedIsNotThere) {
  for (const auto& [question, answer] : {
           std::pair("Which colour is not in the picture?", "Green."),
           {"Which shape does not appear?", "The triangle."},
           {"Which colour is missing, red or green?", "Green"},
           {"And?", "The picture is free of triangles and lacks green."},
           {"What would you see if the circle were blue?", "A blue circle at the top left."},
       }) {
    EXPECT_EQ(Judge(question, answer), "") << question << " " << answer;
  }
  EXPECT_EQ(Judge("Which shape is not red?", "There is a green triangle."), "untrue");
  const std::string supposed = "How many shapes would be left if all circles were taken away?";
  EXPECT_EQ(Judge(supposed, "Then there is one. So one shape would be left."), "");
  EXPECT_EQ(Judge(supposed, "There are two green triangles. So two shapes would be left."),
            "untrue");
  EXPECT_EQ(Judge("Could you tell what is there?", "A green triangle."), "untrue");
}

TEST(SceneTruth, WhereNobodySaysPlacesTheyAreNotJudged) {
  ParsedReply reply;
  reply.dialogue = {{"Where?", "The red circle is at the bottom, above the red circle."}};
  AcceptTrue({"1", "1.jpg", {}, {{"big red circle", "[]"}}}, &reply);
  EXPECT_EQ(reply.rejected, "");
}

TEST(SceneTruth, WhatWasRejectedBeforeKeepsItsReason) {
  ParsedReply reply;
  reply.rejected = "truncated";
  AcceptTrue(Scene(), &reply);
  EXPECT_EQ(reply.rejected, "truncated");
}

}  // namespace
}  // namespace llava::training
