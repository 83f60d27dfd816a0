#include "model/text/detokenizer.h"

#include <string>
#include <vector>

#include "base/rng.h"
#include "base/utf8_stream.h"
#include "gtest/gtest.h"
#include "model/text/tokenizer.h"

namespace llava::model {
namespace {

Tokenizer Load() {
  auto tokenizer = Tokenizer::Load("tests/golden/data/checkpoint", Layout::kHuggingFace);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return std::move(tokenizer).value();
}

int Byte(int value) { return value + 3; }  // <0x00> is 3

TEST(DetokenizerTest, NeverEmitsHalfACharacter) {
  const Tokenizer tokenizer = Load();
  Detokenizer detokenizer(tokenizer);
  for (const int byte : {0xF0, 0x9F, 0xA6}) EXPECT_EQ(detokenizer.Push(Byte(byte)), "");
  EXPECT_EQ(detokenizer.Push(Byte(0x8A)), "\U0001F98A");  // at once
  EXPECT_EQ(detokenizer.Push(Byte(0xED)), "");
  EXPECT_EQ(detokenizer.Push(*tokenizer.IdOf("a")), "\uFFFDa");
  EXPECT_EQ(detokenizer.Push(Byte(0xF0)), "");
  EXPECT_EQ(detokenizer.Finish(), "\uFFFD");
}

// Korean, Chinese and emoji come as they are spelled, not when a token that is no byte ends them.
TEST(DetokenizerTest, CharactersOfBytesComeOneByOne) {
  const Tokenizer tokenizer = Load();
  Detokenizer detokenizer(tokenizer);
  std::vector<std::string> seen;
  for (const unsigned char byte : std::string("\uD55C\u4E2D\U0001F98A")) {
    const std::string text = detokenizer.Push(Byte(byte));
    if (!text.empty()) seen.push_back(text);
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"\uD55C", "\u4E2D", "\U0001F98A"}));
}

TEST(DetokenizerTest, AnAnswerCutInACharacterLosesThatOneOnly) {
  const Tokenizer tokenizer = Load();
  std::vector<int> ids;
  for (const unsigned char byte : std::string("\U0001F98A\U0001F98A\xF0\x9F\xA6")) {
    ids.push_back(Byte(byte));
  }
  EXPECT_EQ(tokenizer.Decode(ids), "\U0001F98A\U0001F98A\uFFFD");
}

TEST(DetokenizerTest, DropsTheFirstSpaceOnly) {
  const Tokenizer tokenizer = Load();
  const std::vector<int> ids = tokenizer.Encode("of the");
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (const int id : ids) text += detokenizer.Push(id);
  EXPECT_EQ(text + detokenizer.Finish(), "of the");
  EXPECT_EQ(detokenizer.Push(ids[0]), "of");  // as new
  EXPECT_EQ(detokenizer.Push(ids[0]), " of");
}

TEST(DetokenizerTest, SpecialTokensAndUnknownIdsAreNothing) {
  const Tokenizer tokenizer = Load();
  Detokenizer detokenizer(tokenizer);
  for (const int id : {0, 1, 2, 1000, 1001, 1002, 1 << 30, -1, -200}) {
    EXPECT_EQ(detokenizer.Push(id), "") << id;
  }
  EXPECT_EQ(detokenizer.Finish(), "");
}

TEST(DetokenizerTest, PiecesAddUpToTheFullDecode) {
  const Tokenizer tokenizer = Load();
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    Rng rng(seed);
    std::vector<int> ids(rng.Below(30));
    for (int& id : ids) {
      id = static_cast<int>(rng.Chance(0.6) ? 3 + rng.Below(256) : rng.Below(1030));
    }
    Detokenizer detokenizer(tokenizer);
    std::string text;
    for (const int id : ids) {
      const std::string piece = detokenizer.Push(id);
      EXPECT_TRUE(IsValidUtf8(piece)) << "seed " << seed;
      text += piece;
    }
    text += detokenizer.Finish();
    EXPECT_EQ(text, tokenizer.Decode(ids)) << "seed " << seed;
  }
}

TEST(DetokenizerTest, EncodedTextComesBack) {
  const Tokenizer tokenizer = Load();
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    Rng rng(seed);
    std::string bytes;
    for (std::uint64_t i = rng.Below(40); i > 0; --i) {
      bytes += static_cast<char>(rng.Chance(0.5) ? rng.Below(128) : rng.Below(256));
    }
    const std::string text = Utf8Repair(bytes);
    EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(text, false)), text) << "seed " << seed;
  }
}

}  // namespace
}  // namespace llava::model
