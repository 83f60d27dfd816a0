#include "training/data/scenes/conversation.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tests/unit/training/data/scenes/each_scene.h"

namespace llava::training::scenes {
namespace {

std::vector<std::vector<SpokenTurn>> Conversations(std::size_t pictures, int most) {
  std::vector<std::vector<SpokenTurn>> all;
  for (int i = 0; i < 200; ++i) {
    std::vector<Scene> scenes;
    for (std::size_t k = 0; k < pictures; ++k) {
      scenes.push_back(MakeScene(kSeed + k, Split::kTrain, Level::kFree, i));
    }
    Rng rng(static_cast<std::uint64_t>(i));
    all.push_back(MakeConversation(scenes, most, rng));
  }
  return all;
}

TEST(ConversationTest, ShowsEachPictureOnceAndEndsInTruth) {
  for (const std::size_t pictures : {1u, 2u}) {
    std::set<std::size_t> lengths;
    for (const auto& turns : Conversations(pictures, 8)) {
      ASSERT_GE(turns.size(), 2u);
      ASSERT_LE(turns.size(), 8u);
      lengths.insert(turns.size());
      int shown = 0;
      for (const SpokenTurn& turn : turns) shown += turn.pictures;
      EXPECT_EQ(shown, static_cast<int>(pictures));
      EXPECT_GE(turns[0].pictures, 1);
      EXPECT_FALSE(turns.back().is_wrong);
    }
    EXPECT_EQ(lengths.size(), 7u);
  }
}

TEST(ConversationTest, HasFollowUpsOfEveryKind) {
  std::set<std::string> kinds;
  int it = 0, with_and = 0, wrong = 0, turns = 0;
  for (const auto& conversation : Conversations(1, 8)) {
    for (std::size_t i = 1; i < conversation.size(); ++i) {
      const SpokenTurn& turn = conversation[i];
      ++turns;
      kinds.insert(turn.question.kind);
      it += absl::EndsWith(turn.question.text, " it?") ? 1 : 0;
      with_and += absl::StartsWith(turn.question.text, "And ") ? 1 : 0;
      wrong += turn.is_wrong ? 1 : 0;
      EXPECT_FALSE(absl::StrContains(turn.question.text, "picture, ")) << turn.question.text;
    }
  }
  EXPECT_EQ(kinds.size(), kKinds.size());
  EXPECT_GT(it, turns / 40);
  EXPECT_GT(with_and, turns / 30);
  EXPECT_GT(wrong, turns / 20);
}

// Nobody can say what "it" is after a wrong answer or a new picture.
TEST(ConversationTest, ItIsKnownFromTheTurnBefore) {
  for (const std::size_t pictures : {1u, 2u}) {
    for (const auto& conversation : Conversations(pictures, 8)) {
      for (std::size_t i = 0; i < conversation.size(); ++i) {
        const std::string& text = conversation[i].question.text;
        if (text != "Where is it?" && text != "What colour is it?") continue;
        ASSERT_GT(i, 0u);
        EXPECT_FALSE(conversation[i - 1].is_wrong);
        EXPECT_EQ(conversation[i].pictures, 0);
        EXPECT_NE(conversation[i - 1].question.answer, "no");
      }
    }
  }
}

TEST(ConversationTest, NamesThePictureWhereBothAreShownAtOnce) {
  int named = 0;
  for (const auto& conversation : Conversations(2, 6)) {
    if (conversation[0].pictures != 2) continue;
    EXPECT_TRUE(absl::StartsWith(conversation[0].question.text, "In the "))
        << conversation[0].question.text;
    ++named;
  }
  EXPECT_GT(named, 30);
}

}  // namespace
}  // namespace llava::training::scenes
