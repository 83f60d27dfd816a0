#include "training/generate/scene_claims.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace llava::training::spoken {
namespace {

Truth Scene() {
  return TruthOf(
      {"1",
       "1.jpg",
       {"There is a big red circle at the top left, a small blue square at the right and "
        "the word CAT in the bottom row."},
       {{"big red circle", "[]"}, {"small blue square", "[]"}, {"text CAT", "[]"}}});
}

using Said = std::pair<const char*, std::optional<bool>>;

TEST(SceneClaims, OfAll) {
  for (const auto& [said, so] : {Said{"all of the shapes are big", false},
                                 {"every shape is red", false},
                                 {"both the circle and the square are red", false},
                                 {"neither is green", true},
                                 {"none of the shapes is red", false},
                                 {"nothing in the picture is green", true},
                                 {"no shape is green", true},
                                 {"each of the circles is red", true},
                                 {"not all shapes are red", std::nullopt},
                                 {"all shapes are red and blue", std::nullopt},
                                 {"all triangles are red", std::nullopt},
                                 {"they are all red", std::nullopt}}) {
    EXPECT_EQ(AllAreSo(Scene(), WordsOf(said)), so) << said;
  }
}

TEST(SceneClaims, OfTwoThatAreAlike) {
  for (const auto& [said, so] : {Said{"the circle and the square have the same colour", false},
                                 {"the two shapes differ in size", true},
                                 {"all shapes have different shapes", true},
                                 {"the circle and the square are equally big", false},
                                 {"the circle has the same size as another", std::nullopt},
                                 {"the circle and the square have not the same size", std::nullopt},
                                 {"the shapes are red", std::nullopt}}) {
    EXPECT_EQ(AlikeIsSo(Scene(), WordsOf(said)), so) << said;
  }
}

TEST(SceneClaims, OfOneOfTwo) {
  const std::vector<std::string> sides =
      WordsOf("is the circle to the left or to the right of the square");
  const std::vector<std::string> sizes = WordsOf("is the circle bigger or smaller than the square");
  EXPECT_EQ(EitherIsSo(Scene(), sides, WordsOf("to the left")), true);
  EXPECT_EQ(EitherIsSo(Scene(), sides, WordsOf("to the right")), false);
  EXPECT_EQ(EitherIsSo(Scene(), sides, WordsOf("in between")), std::nullopt);
  EXPECT_EQ(EitherIsSo(Scene(), sizes, WordsOf("it is bigger")), true);
  EXPECT_EQ(EitherIsSo(Scene(), sizes, WordsOf("it is smaller")), false);
  EXPECT_EQ(EitherIsSo(Scene(), WordsOf("is it red or blue"), WordsOf("red")), std::nullopt);
}

TEST(SceneClaims, OfTextAndOfWhatIsMissing) {
  EXPECT_EQ(SpokenTextIsThere(Scene(), WordsOf("is there any text")), true);
  EXPECT_EQ(SpokenTextIsThere(Scene(), WordsOf("are there digits")), false);
  EXPECT_EQ(SpokenTextIsThere(Scene(), WordsOf("is there a circle")), std::nullopt);
  EXPECT_TRUE(TextIsSo(Scene(), WordsOf("The word CAT is written in the bottom row")));
  EXPECT_FALSE(TextIsSo(Scene(), WordsOf("The word CAT is written in the top row")));
  EXPECT_FALSE(TextIsSo(Scene(), WordsOf("There is a digit")));
  EXPECT_FALSE(MissingIsSo(Scene(), WordsOf("the picture has no letters or digits")));
  EXPECT_TRUE(MissingIsSo(Scene(), WordsOf("the picture has no digits")));
  EXPECT_FALSE(MissingIsSo(Scene(), WordsOf("it does not contain anything red")));
  EXPECT_TRUE(MissingIsSo(Scene(), WordsOf("there is no circle bigger than this")));
}

}  // namespace
}  // namespace llava::training::spoken
