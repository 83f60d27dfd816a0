#include "model/text/token_trie.h"

#include <string>

#include "gtest/gtest.h"

namespace llava::model {
namespace {

TEST(TokenTrieTest, FindsTheLongestTokenAtAPlace) {
  TokenTrie trie;
  EXPECT_TRUE(trie.empty());
  trie.Add("<a>", 7);
  trie.Add("<a><b>", 8);
  trie.Add("<", 9);
  EXPECT_FALSE(trie.empty());
  const std::string text = "x<a><b><a><c";
  const auto at = [&](std::size_t i) { return trie.LongestAt(text, i); };
  EXPECT_EQ(at(0).size, 0u);
  EXPECT_EQ(at(1).size, 6u);
  EXPECT_EQ(at(1).value, 8u);
  EXPECT_EQ(at(7).size, 3u);  // "<a><" goes on towards "<a><b>", but does not reach it
  EXPECT_EQ(at(7).value, 7u);
  EXPECT_EQ(at(10).value, 9u);
  EXPECT_EQ(at(11).size, 0u);
}

TEST(TokenTrieTest, TheFirstOfEqualTokensCounts) {
  TokenTrie trie;
  trie.Add("\xC3\xA9", 1);
  trie.Add("\xC3\xA9", 2);
  EXPECT_EQ(trie.LongestAt("\xC3\xA9", 0).value, 1u);
  EXPECT_EQ(trie.LongestAt("\xC3", 0).size, 0u);
}

}  // namespace
}  // namespace llava::model
