#include "model/text/byte_level.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/detokenizer.h"
#include "model/text/tokenizer.h"
#include "model/text/tokenizer_json.h"

namespace llava::model {
namespace {

using testing::ElementsAre;

// The character of each byte, as tokenizers' ByteLevel has them.
std::string CharacterOf(int byte) {
  const bool own = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
  int character = byte;
  if (!own) {
    character = 0x100;
    for (int b = 0; b < byte; ++b) {
      if (!((b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD))) ++character;
    }
  }
  if (character < 0x80) return std::string(1, static_cast<char>(character));
  return {static_cast<char>(0xC0 | character >> 6), static_cast<char>(0x80 | (character & 0x3F))};
}

// A byte's id is the byte; 256 "Ġa", 257 "ab".
ByteLevel Make(bool nfc) {
  std::vector<Bpe::Entry> entries;
  for (int byte = 0; byte < 256; ++byte) entries.push_back({CharacterOf(byte)});
  entries.push_back({CharacterOf(' ') + "a"});
  entries.push_back({"ab"});
  auto bpe = Bpe::Create(std::move(entries), {{' ', 'a', 256, 0}, {'a', 'b', 257, 1}},
                         {.spaces_are_marks = false});
  EXPECT_TRUE(bpe.ok()) << bpe.status();
  std::vector<SplitExpression> splits;
  splits.push_back(*SplitExpression::Create(kGpt2Expression));
  return ByteLevel(*std::move(bpe), std::move(splits), nfc);
}

std::vector<int> Ids(const ByteLevel& vocabulary, const std::string& text) {
  std::vector<int> ids;
  vocabulary.Encode(text, ids);
  return ids;
}

TEST(ByteLevelTest, MergesBytesWithinWords) {
  const ByteLevel vocabulary = Make(false);
  EXPECT_THAT(Ids(vocabulary, "ab a"), ElementsAre(257, 256));
  EXPECT_THAT(Ids(vocabulary, "a  ab"), ElementsAre('a', ' ', 256, 'b'));
  EXPECT_THAT(Ids(vocabulary, "\xC3\xA9\n"), ElementsAre(0xC3, 0xA9, '\n'));
  EXPECT_THAT(Ids(vocabulary, std::string(1, '\0')), ElementsAre(0));
  EXPECT_THAT(Ids(vocabulary, ""), ElementsAre());
  EXPECT_TRUE(vocabulary.spells_bytes());
}

TEST(ByteLevelTest, ComposesWhereTheFileSaysSo) {
  const std::string decomposed = "e\xCC\x81";
  EXPECT_THAT(Ids(Make(true), decomposed), ElementsAre(0xC3, 0xA9));
  EXPECT_THAT(Ids(Make(false), decomposed), ElementsAre('e', 0xCC, 0x81));
}

// U+0C3C came with Unicode 14, U+11938 and its parts with 13.
TEST(ByteLevelTest, WhatTheReferencesTablesDoNotHaveIsLeftAsItIs) {
  const std::string iota = "\xCD\x85", acute = "\xCC\x81", nukta = "\xE0\xB0\xBC";
  const ByteLevel vocabulary = Make(true);
  EXPECT_EQ(Ids(vocabulary, iota + acute), Ids(vocabulary, acute + iota)) << "are put in order";
  EXPECT_THAT(Ids(vocabulary, iota + nukta), ElementsAre(0xCD, 0x85, 0xE0, 0xB0, 0xBC));
  EXPECT_THAT(Ids(vocabulary, "e" + nukta + acute), ElementsAre('e', 0xE0, 0xB0, 0xBC, 0xCC, 0x81));
  const std::string parts = "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0";
  EXPECT_EQ(Ids(vocabulary, parts).size(), 8u);
}

TEST(ByteLevelTest, AnOldVowelStaysBehindASyllable) {
  const std::string syllable = "\xEA\xB0\x80", vowel = "\xE1\x86\xA7";
  EXPECT_THAT(Ids(Make(true), syllable + vowel), ElementsAre(0xEA, 0xB0, 0x80, 0xE1, 0x86, 0xA7));
}

TEST(ByteLevelTest, PiecesAreTheBytesTheyStandFor) {
  const ByteLevel vocabulary = Make(false);
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(vocabulary.TextOf(byte), std::string(1, static_cast<char>(byte)));
    EXPECT_EQ(vocabulary.kind(byte), Vocabulary::Kind::kBytes);
  }
  EXPECT_EQ(vocabulary.TextOf(256), " a");
  EXPECT_EQ(vocabulary.IdOf(CharacterOf(' ') + "a"), 256);
}

TEST(ByteLevelTest, StreamsWholeCharacters) {
  TokenizerSettings settings;
  settings.prefix = PrefixRule::kNever;
  settings.strip_first_space = false;
  const auto tokenizer =
      Tokenizer::FromVocabulary(std::make_unique<ByteLevel>(Make(false)), {}, settings);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  Detokenizer detokenizer(*tokenizer);
  EXPECT_EQ(detokenizer.Push(256), " a");
  EXPECT_EQ(detokenizer.Push(0xE6), "");
  EXPECT_EQ(detokenizer.Push(0x97), "");
  EXPECT_EQ(detokenizer.Push(0xA5), "日");
  EXPECT_EQ(detokenizer.Push(0xE6), "");
  EXPECT_EQ(detokenizer.Push(257),
            "\xEF\xBF\xBD"
            "ab");
  EXPECT_EQ(detokenizer.Push(0xE6), "");
  EXPECT_EQ(detokenizer.Finish(), "\xEF\xBF\xBD");
}

}  // namespace
}  // namespace llava::model
