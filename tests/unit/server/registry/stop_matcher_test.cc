#include "server/registry/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"

namespace llava::registry {
namespace {

struct Result {
  std::string text;
  bool matched = false;
};

// The text in random pieces.
Result Feed(const std::string& text, const std::vector<std::string>& stops, Rng* rng) {
  StopMatcher matcher(stops);
  Result result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = 1 + rng->Below(4);
    result.text += matcher.Push(text.substr(at, size));
    at += size;
  }
  result.text += matcher.Finish();
  result.matched = matcher.matched();
  return result;
}

TEST(StopMatcherTest, WithoutStopsEverythingPassesAtOnce) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.Push("abc"), "abc");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcherTest, HoldsBackNoMoreThanWhatMayBecomeAStop) {
  StopMatcher matcher({"###", "END"});
  EXPECT_EQ(matcher.Push("Hello #"), "Hello ");
  EXPECT_EQ(matcher.Push("1 "), "#1 ");
  EXPECT_EQ(matcher.Push("E"), "");
  EXPECT_EQ(matcher.Push("ND of it"), "");
  EXPECT_TRUE(matcher.matched());
  EXPECT_EQ(matcher.Push("more"), "");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcherTest, WhatIsHeldBackComesAtTheEnd) {
  StopMatcher matcher({"stop"});
  EXPECT_EQ(matcher.Push("please sto"), "please ");
  EXPECT_EQ(matcher.Finish(), "sto");
  EXPECT_FALSE(matcher.matched());
}

// Against the definition: everything before the first place where a stop string stands.
TEST(StopMatcherTest, HoweverTheTextIsCut) {
  const std::uint64_t seed = 20260131;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  Rng rng(seed);
  for (int round = 0; round < 20000; ++round) {
    const auto random_text = [&rng](std::uint64_t up_to) {
      std::string text;
      for (std::uint64_t i = 1 + rng.Below(up_to); i > 0; --i) {
        text += static_cast<char>('a' + static_cast<char>(rng.Below(3)));
      }
      return text;
    };
    const std::string text = random_text(30);
    std::vector<std::string> stops;
    for (std::uint64_t i = rng.Below(4); i > 0; --i) stops.push_back(random_text(5));
    // The first one that is complete ends the text; of those, the one that begins first.
    std::size_t cut = std::string::npos;
    for (std::size_t end = 1; end <= text.size() && cut == std::string::npos; ++end) {
      for (const std::string& stop : stops) {
        cut = std::min(cut, text.substr(0, end).find(stop));
      }
    }
    StopMatcher matcher(stops);
    std::string got;
    for (const char c : text) got += matcher.Push(std::string(1, c));
    got += matcher.Finish();
    EXPECT_EQ(matcher.matched(), cut != std::string::npos);
    EXPECT_EQ(got, text.substr(0, cut)) << text;
    EXPECT_EQ(Feed(text, stops, &rng).matched, matcher.matched());
  }
}

}  // namespace
}  // namespace llava::registry
