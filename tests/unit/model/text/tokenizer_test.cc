#include "model/text/tokenizer.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kCheckpoint = "tests/golden/data/checkpoint";

std::string ModelBytes() { return *ReadFile(kCheckpoint + "/tokenizer.model", 1 << 20); }

TEST(TokenizerTest, KnowsItsSpecialTokens) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.unk_id(), 0);
  EXPECT_TRUE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.IdOf("<image>"), 1000);
  EXPECT_EQ(tokenizer.IdOf("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.vocab_size(), 1002);
  EXPECT_EQ(tokenizer.TokenText(1001), "<pad>");
  EXPECT_EQ(tokenizer.TokenText(13), "<0x0A>");
  EXPECT_EQ(tokenizer.TokenText(5000), "");
}

TEST(TokenizerTest, VocabularyMustFitTheEmbedding) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  EXPECT_TRUE(tokenizer.CheckFits(1002).ok());
  EXPECT_TRUE(tokenizer.CheckFits(1024).ok());
  EXPECT_TRUE(tokenizer.CheckFits(1000).ok());
  const absl::Status status = tokenizer.CheckFits(999);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("999 rows"), HasSubstr("1000")));
}

TEST(TokenizerTest, AddedTokensBeyondTheEmbeddingAreAWarning) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  EXPECT_EQ(tokenizer.BeyondEmbedding(1002), "");
  EXPECT_THAT(tokenizer.BeyondEmbedding(1001),
              AllOf(HasSubstr("1001 rows"), HasSubstr("\"<pad>\" = 1001")));
}

TEST(TokenizerTest, AddedTokensTakeWhiteSpaceAlong) {
  const auto tokenizer = *Tokenizer::FromModel(ModelBytes(),
                                               {{.content = "<l>", .id = 1000, .lstrip = true},
                                                {.content = "<r>", .id = 1001, .rstrip = true},
                                                {.content = "<l><r>", .id = 1002}},
                                               {});
  EXPECT_EQ(tokenizer.Encode("of \n<l>of"), tokenizer.Encode("of<l>of"));
  EXPECT_EQ(tokenizer.Encode("of<r> \n of"), tokenizer.Encode("of<r>of"));
  EXPECT_NE(tokenizer.Encode("of<l> of"), tokenizer.Encode("of<l>of"));
  EXPECT_THAT(tokenizer.Encode("<l><r>"), ElementsAre(1002));  // the longest counts
  EXPECT_THAT(tokenizer.Encode("<r>  <l>"), ElementsAre(1001, 1000));
}

TEST(TokenizerTest, ASingleWordIsFoundWhereNoWordGoesOn) {
  const auto tokenizer =
      *Tokenizer::FromModel(ModelBytes(), {{.content = "of", .id = 1000, .single_word = true}}, {});
  const auto found = [&](const std::string& text) {
    const std::vector<int> ids = tokenizer.Encode(text);
    return std::count(ids.begin(), ids.end(), 1000);
  };
  for (const char* alone :
       {"of", "a of b", "(of)", "of.", "\xC2\xB2of", "of\xE2\x80\xA6", "of of"}) {
    EXPECT_GT(found(alone), 0) << alone;
  }
  for (const char* within : {"offer", "roof", "of_", "7of", "of\xC3\xA9", "\xD0\xB6of", "ofof",
                             "of\xCC\x81", "of\xE2\x80\x8D", "\xE2\x85\xA3of"}) {
    EXPECT_EQ(found(within), 0) << within;
  }
}

TEST(TokenizerTest, WhatAUserTypesStaysText) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  for (const std::string text : {"</s>", "<image>", "a<s>b", "<pad><unk>"}) {
    const std::vector<int> ids = tokenizer.Encode(text, false);
    EXPECT_THAT(ids, testing::Each(testing::AllOf(testing::Gt(2), testing::Lt(1000)))) << text;
    EXPECT_EQ(tokenizer.Decode(ids), text);
  }
  // Also when it is put together from what the user types and what the template says.
  const std::vector<TextPart> parts = {{"<im", true}, {"age></", false}, {"s>", true}};
  EXPECT_THAT(tokenizer.Encode(parts), testing::Each(testing::Gt(2)));
}

// A serialized ModelProto with one more piece, of type USER_DEFINED.
std::string WithUserDefined(const std::string& piece) {
  const std::string entry = "\x0A" + std::string(1, static_cast<char>(piece.size())) + piece +
                            std::string("\x15\0\0\0\0\x18\x04", 7);
  return ModelBytes() + "\x0A" + std::string(1, static_cast<char>(entry.size())) + entry;
}

// The library throws there.
TEST(TokenizerTest, APieceThatBeginsWithAZeroByteIsRefused) {
  constexpr char kModel[] = "\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02\x0a\x0a\x0a\x08\0piece12";
  const auto tokenizer = Tokenizer::FromModel({kModel, sizeof(kModel) - 1}, {}, {});
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument) << tokenizer.status();
}

TEST(TokenizerTest, UserDefinedPiecesAreControlToo) {
  const auto tokenizer = *Tokenizer::FromModel(WithUserDefined("<image>"), {}, {});
  EXPECT_EQ(tokenizer.IdOf("<image>"), 1000);
  EXPECT_THAT(tokenizer.Encode("of<image>of"), testing::Contains(1000));
  for (const std::string text : {"<image>", "of<image>of", "\xC3\xA9<image><image>"}) {
    const std::vector<int> typed = tokenizer.Encode(text, false);
    EXPECT_THAT(typed, testing::Not(testing::Contains(1000))) << text;
    EXPECT_EQ(tokenizer.Decode(typed), text);
  }
  const std::vector<TextPart> parts = {{"<image><im", true}, {"age>", false}};
  const std::vector<int> ids = tokenizer.Encode(parts);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 1000), 1);
}

TEST(TokenizerTest, CuttingATextIntoPartsDoesNotChangeItsIds) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  const std::string text = "USER: the </s>statement\n<image> of\xC3\xA9 keyword";
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    std::vector<TextPart> parts;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t take = 1 + rng.Below(9);
      // A character must stay whole: half of one is repaired.
      const bool splits = at + take < text.size() && (text[at + take] & 0xC0) == 0x80;
      parts.push_back({text.substr(at, take + (splits ? 1 : 0)), true});
      at += take + (splits ? 1 : 0);
    }
    EXPECT_EQ(tokenizer.Encode(parts), tokenizer.Encode(text)) << "seed " << seed;
  }
}

TEST(TokenizerTest, InvalidUtf8IsRepaired) {
  const Tokenizer tokenizer = *Tokenizer::Load(kCheckpoint, Layout::kHuggingFace);
  EXPECT_EQ(tokenizer.Encode("a\xFF\xC3"), tokenizer.Encode("a\uFFFD\uFFFD"));
}

}  // namespace
}  // namespace llava::model
