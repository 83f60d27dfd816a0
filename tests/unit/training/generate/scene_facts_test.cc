#include "training/generate/scene_facts.h"

#include "gtest/gtest.h"

namespace llava::training::spoken {
namespace {

PictureContext Context() {
  return {
      "1",
      "1.jpg",
      {"There is a big red circle at the top left, a small blue square at the right, a small red "
       "circle at the bottom and the digit 7 in the middle."},
      {{"big red circle", "[]"},
       {"small blue square", "[]"},
       {"small red circle", "[]"},
       {"text 7", "[]"}}};
}

TEST(SceneFacts, AreThoseOfCaptionsAndBoxes) {
  const Truth truth = TruthOf(Context());
  ASSERT_EQ(truth.things.size(), 3u);
  EXPECT_TRUE(truth.knows_places);
  EXPECT_EQ(truth.things[2].row, 2);
  EXPECT_EQ(truth.things[2].column, kMiddle);
  EXPECT_EQ(truth.text, "7");
  EXPECT_EQ(truth.text_place.row, kMiddle);
  EXPECT_EQ(truth.text_place.column, kMiddle);
  const Truth blind = TruthOf({"1", "1.jpg", {}, {{"big red circle", "[]"}}});
  EXPECT_FALSE(blind.knows_places);
  EXPECT_FALSE(blind.text_place.has_place());
  const Truth word = TruthOf({"1", "1.jpg", {"There is the word CAT in the middle row."}, {}});
  EXPECT_EQ(word.text_place.row, kMiddle);
  EXPECT_EQ(word.text_place.column, kAny);
}

TEST(SceneFacts, CountsAndCompares) {
  const Truth truth = TruthOf(Context());
  const Spoken circle{.shape = 0};
  const Spoken square{.shape = 1};
  EXPECT_EQ(Count(truth, circle), 2);
  EXPECT_TRUE(IsSo(truth, {.size = 0, .colour = 2, .shape = 1}));
  EXPECT_FALSE(IsSo(truth, {.size = 1, .colour = 2, .shape = 1}));
  const std::vector<std::string> objects = {"four", "objects"};
  EXPECT_TRUE(CountFits(truth, 4, {}, objects));  // with the digit
  EXPECT_FALSE(CountFits(truth, 4, {}, {}));
  EXPECT_TRUE(StandsSo(truth, square, circle, 1, 0));
  EXPECT_FALSE(StandsSo(truth, square, circle, -1, 0));
  EXPECT_TRUE(ComparesSo(truth, circle, square, 1));
  EXPECT_TRUE(ComparesSo(truth, circle, square, 0));  // the other one
  EXPECT_FALSE(ComparesSo(truth, circle, square, -1));
  EXPECT_TRUE(IsExtreme(truth, circle, 1));
  EXPECT_FALSE(IsExtreme(truth, square, 1));
}

TEST(SceneFacts, ThingsOfASentenceHaveTheirPlaces) {
  const std::vector<std::string> words =
      Lower(WordsOf("A red circle at the top, something blue and the shapes."));
  const std::vector<Spoken> things = ThingsIn(words);
  ASSERT_EQ(things.size(), 2u);
  EXPECT_EQ(things[0].row, 0);
  EXPECT_EQ(things[1].colour, 2);
  EXPECT_EQ(OnlyOne(words, ColourOf), kAny);
  EXPECT_EQ(OnlyOne(words, ShapeOf), 0);
}

}  // namespace
}  // namespace llava::training::spoken
