#include "base/utf8_stream.h"

#include "base/rng.h"
#include "gtest/gtest.h"

namespace llava {
namespace {

TEST(Utf8StreamTest, HoldsBackAnUnfinishedCharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("a\xE2\x82"), "a");
  EXPECT_EQ(stream.Push("\xAC!"), "\xE2\x82\xAC!");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(Utf8StreamTest, ReplacesWhatCannotBeACharacter) {
  EXPECT_EQ(Utf8Repair("\xC0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD");  // overlong
  EXPECT_EQ(Utf8Repair("\xE2\x82"), "\xEF\xBF\xBD");              // cut off: one subpart
  EXPECT_EQ(Utf8Repair("\xE2\x82z"), "\xEF\xBF\xBDz");
  EXPECT_EQ(Utf8Repair("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // surrogate
  EXPECT_EQ(Utf8Repair("\xF5"), "\xEF\xBF\xBD");
  EXPECT_TRUE(IsValidUtf8("\xF0\x9F\x90\xB1"));
  EXPECT_FALSE(IsValidUtf8("\xF0\x9F\x90"));
}

// The first and the last character of each length, and what lies just beyond.
TEST(Utf8StreamTest, CharactersEndAt10FFFF) {
  for (const std::string_view character :
       {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(IsValidUtf8(character)) << character;
  }
  for (const std::string_view none : {"\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                                      "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80"}) {
    EXPECT_FALSE(IsValidUtf8(none)) << none;
  }
}

TEST(Utf8StreamTest, AnySplitAddsUpToTheWhole) {
  Rng rng(7);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    const auto length = rng.Below(24);
    for (std::uint64_t i = 0; i < length; ++i) {
      // Lead and continuation bytes are over-represented on purpose.
      bytes.push_back(static_cast<char>(rng.Chance(0.7) ? 0x80 + rng.Below(128) : rng.Below(128)));
    }
    Utf8Stream stream;
    std::string pieces;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t take = 1 + rng.Below(3);
      const std::string piece = stream.Push(std::string_view(bytes).substr(at, take));
      EXPECT_TRUE(IsValidUtf8(piece));
      pieces += piece;
      at += take;
    }
    pieces += stream.Finish();
    EXPECT_EQ(pieces, Utf8Repair(bytes));
  }
}

}  // namespace
}  // namespace llava
