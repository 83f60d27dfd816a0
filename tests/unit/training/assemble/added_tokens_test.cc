#include "training/assemble/added_tokens.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/tokenizer.h"
#include "tests/unit/training/assemble/parts_folders.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kQwen[] = "tests/golden/data/families/llava_qwen2/checkpoint";

model::Tokenizer Load(const std::string& folder) {
  auto tokenizer = model::Tokenizer::Load(folder, model::Layout::kHuggingFace);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

TEST(AddedTokensTest, ImageAndPaddingComeBehindTheVocabulary) {
  const PartsFolders parts;
  const auto plan = PlanVocabulary(parts.language);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->added, ElementsAre("<image>", "<pad>"));  // <unk> is no padding of its own
  EXPECT_EQ(plan->image_id, kPieces);
  EXPECT_EQ(plan->pad_id, kPieces + 1);
  EXPECT_EQ(plan->tokens, kPieces + 2);
  EXPECT_EQ(plan->turn_end_id, -1);
  ASSERT_TRUE(WriteTokenizerWith(*plan, parts.language, parts.out).ok());
  EXPECT_EQ(Load(parts.out).IdOf("<image>"), kPieces);
  EXPECT_EQ(Load(parts.out).Encode("A red square<image>"),
            Load(kGolden).Encode("A red square<image>"));
}

TEST(AddedTokensTest, NothingIsAddedTwice) {
  const PartsFolders parts;
  const auto plan = PlanVocabulary(kGolden);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->added, IsEmpty());
  EXPECT_EQ(plan->image_id, kPieces);
  ASSERT_TRUE(WriteTokenizerWith(*plan, kGolden, parts.out).ok());
  EXPECT_EQ(Load(parts.out).vocab_size(), kPieces + 2);
}

TEST(AddedTokensTest, APaddingTokenOfItsOwnIsKept) {
  const auto plan = PlanVocabulary(kQwen);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->pad, "<|endoftext|>");
  EXPECT_EQ(plan->pad_id, 400);
  EXPECT_EQ(plan->turn_end_id, 402);
}

TEST(AddedTokensTest, AFolderWithoutATokenizerIsNamed) {
  const test::TempDir temp;
  const auto plan = PlanVocabulary(temp.path());
  EXPECT_TRUE(absl::IsNotFound(plan.status())) << plan.status();
}

}  // namespace
}  // namespace llava::training
