#include "training/generate/near_duplicates.h"

#include "gtest/gtest.h"

namespace llava::training {
namespace {

std::string Text(int first, int last) {
  std::string text;
  for (int i = first; i < last; ++i) text += "word" + std::to_string(i) + " ";
  return text;
}

TEST(NearDuplicates, FindsWhatIsAlmostTheSame) {
  NearDuplicates seen(0.9);
  EXPECT_EQ(seen.Add(Text(0, 100)), -1);
  EXPECT_EQ(seen.Add(Text(50, 150)), -1);  // a third is shared
  EXPECT_EQ(seen.Add(Text(0, 100) + "and more"), 0);
  EXPECT_EQ(seen.Add("WORD0, " + Text(1, 100)), 0);  // but for case and punctuation
  EXPECT_EQ(seen.Add(Text(50, 150)), 1);
  EXPECT_EQ(seen.Add("yes"), -1);
  EXPECT_EQ(seen.Add("Yes."), 5);
  EXPECT_EQ(seen.Add("no"), -1);
}

}  // namespace
}  // namespace llava::training
