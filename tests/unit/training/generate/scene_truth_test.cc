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
