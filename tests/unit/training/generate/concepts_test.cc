#include "training/generate/concepts.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using testing::ElementsAre;

TEST(Concepts, NounPhrasesStandBetweenOtherWords) {
  EXPECT_THAT(NounPhrases("A small Red dog sitting on the kitchen table, near a dog."),
              ElementsAre("small red dog", "kitchen table", "dog"));
  EXPECT_THAT(NounPhrases("the very old wooden sailing ship"),
              ElementsAre("very old wooden", "ship"));
  EXPECT_THAT(NounPhrases("a king with a ring"), ElementsAre("king", "ring"));
  EXPECT_THAT(NounPhrases("it is"), ElementsAre());
}

TEST(Concepts, RareOnesArePassedOverAndFrequentOnesAreCut) {
  ConceptBalance balance;
  for (int i = 0; i < 200; ++i) balance.Add({"dog"});
  for (int i = 0; i < 5; ++i) balance.Add({"cat", "dog"});
  balance.Add({"yak"});
  const auto chosen = balance.Choose(3, 100, 42);
  EXPECT_GE(chosen.size(), 100u);
  EXPECT_LE(chosen.size(), 105u);
  for (std::int64_t cat = 200; cat < 205; ++cat) EXPECT_THAT(chosen, testing::Contains(cat));
  EXPECT_THAT(chosen, testing::Not(testing::Contains(205)));
  EXPECT_EQ(chosen, balance.Choose(3, 100, 42));
  EXPECT_NE(chosen, balance.Choose(3, 100, 43));
  EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < balance.captions(); ++i) all.push_back(i);
  EXPECT_THAT(balance.Histogram(all), ElementsAre(1, 0, 1, 0, 1, 0));
  EXPECT_EQ(HistogramText({1, 0, 1, 0, 1, 0}),
            "phrases in 1, 2, 3-9, 10-99, 100-999, 1000+ captions: 1, 0, 1, 0, 1, 0");
}

}  // namespace
}  // namespace llava::training
