#include "training/generate/scene_words.h"

#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"

namespace llava::training::spoken {
namespace {

Spoken PlaceIn(const std::string& text, bool* is_place) {
  const std::vector<std::string> words = Lower(WordsOf(text));
  Reader reader(words);
  Spoken place;
  *is_place = reader.TakePlace(&place);
  EXPECT_EQ(reader.at_end(), *is_place) << text;
  return place;
}

TEST(SceneWords, PlacesAreRowsAndColumns) {
  bool is_place = false;
  const Spoken corner = PlaceIn("In the top left corner of the picture", &is_place);
  EXPECT_TRUE(is_place);
  EXPECT_EQ(corner.row, 0);
  EXPECT_EQ(corner.column, 0);
  EXPECT_EQ(PlaceIn("in the bottom row", &is_place).row, 2);
  EXPECT_EQ(PlaceIn("on the right side", &is_place).column, kNotFirst);
  EXPECT_EQ(PlaceIn("on the left half of the image", &is_place).column, kNotLast);
  EXPECT_EQ(PlaceIn("near the very top edge", &is_place).row, kNotLast);
  EXPECT_EQ(PlaceIn("in the lower right-hand corner of the frame", &is_place).row, 2);
  EXPECT_EQ(PlaceIn("at the very center of the image", &is_place).column, kMiddle);
  for (const char* other :
       {"on the left of the circle", "in the middle row", "in the picture", "towards the middle"}) {
    PlaceIn(other, &is_place);
    EXPECT_FALSE(is_place) << other;
  }
}

TEST(SceneWords, ThingsHaveALookAndAShape) {
  const std::vector<std::string> words = Lower(WordsOf("Large gray crosses, it's"));
  ASSERT_EQ(words.size(), 4u);
  EXPECT_EQ(words[3], "it's");
  Reader reader(words);
  const std::optional<Spoken> thing = reader.TakeThing();
  ASSERT_TRUE(thing.has_value());
  EXPECT_EQ(thing->size, SizeOf("big"));
  EXPECT_EQ(thing->colour, ColourOf("grey"));
  EXPECT_EQ(thing->shape, ShapeOf("cross"));
  EXPECT_FALSE(reader.TakeThing().has_value());
  EXPECT_EQ(ShapeOf("stars"), kNothing);
  EXPECT_EQ(NumberOf("seven"), 7);
  EXPECT_TRUE(IsWritten("CAT"));
  EXPECT_FALSE(IsWritten("cat"));
}

TEST(SceneWords, SidesOfAThing) {
  for (const auto& [text, across, down] : {std::tuple("left of", -1, 0),
                                           {"on the right of", 1, 0},
                                           {"directly above", 0, -1},
                                           {"right below", 0, 1},
                                           {"higher up than", 0, -1},
                                           {"further to the right than", 1, 0},
                                           {"lower in", 0, 0},
                                           {"to the left", 0, 0}}) {
    const std::vector<std::string> words = WordsOf(text);
    Reader reader(words);
    int found_across = 0;
    int found_down = 0;
    const bool found = TakeDirection(&reader, &found_across, &found_down);
    EXPECT_EQ(found, across != 0 || down != 0) << text;
    EXPECT_EQ(reader.at_end(), found) << text;
    if (!found) continue;
    EXPECT_EQ(found_across, across) << text;
    EXPECT_EQ(found_down, down) << text;
  }
}

}  // namespace
}  // namespace llava::training::spoken
