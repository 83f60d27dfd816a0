#include "server/config/config_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <type_traits>
#include <vector>

namespace llava::server {
namespace {

using ::testing::ElementsAre;

std::vector<const Option*> AllOptions() {
  std::vector<const Option*> all;
  for (const Section& section : Sections()) {
    for (const Option& option : section.options) all.push_back(&option);
  }
  return all;
}

template <typename T>
bool Holds(const Option& option) {
  return std::holds_alternative<T Config::*>(option.member);
}

// Sets `name` to `text`, and gives it back as it is printed; or the error.
std::string Set(absl::string_view name, const std::string& text) {
  Config config;
  const Option& option = *FindOption(name);
  const absl::Status status = SetScalar(option, text, &config);
  return status.ok() ? FormatValue(option, config) : std::string(status.message());
}

TEST(ConfigTableTest, TheSectionsInTheOrderOfThePage) {
  std::vector<std::string> names;
  for (const Section& section : Sections()) names.emplace_back(section.name);
  EXPECT_THAT(names, ElementsAre("Model", "Reload", "Canary", "Engine", "Network", "Security",
                                 "Requests", "Queue", "Log"));
}

TEST(ConfigTableTest, EveryOptionIsListedOnceWithItsHelp) {
  std::set<absl::string_view> names;
  for (const Option* option : AllOptions()) {
    EXPECT_TRUE(names.insert(option->name).second) << option->name;
    EXPECT_FALSE(option->help.empty()) << option->name;
    EXPECT_EQ(FindOption(option->name), option);
  }
  EXPECT_EQ(FindOption("max_seats"), nullptr);
}

TEST(ConfigTableTest, EveryOptionHasAMemberOfItsOwn) {
  for (const Option* option : AllOptions()) {
    for (const Option* other : AllOptions()) {
      EXPECT_EQ(option->member == other->member, option == other) << option->name << other->name;
    }
  }
}

TEST(ConfigTableTest, TheUnitIsThatOfTheMember) {
  for (const Option* option : AllOptions()) {
    const bool counts = option->unit == Unit::kCount || option->unit == Unit::kBytes ||
                        option->unit == Unit::kPixels;
    EXPECT_EQ(Holds<std::int64_t>(*option), counts) << option->name;
    EXPECT_EQ(Holds<Duration>(*option), option->unit == Unit::kMilliseconds) << option->name;
    EXPECT_EQ(option->unit != Unit::kNone, option->range.max > option->range.min) << option->name;
    EXPECT_TRUE(option->choices.empty() || Holds<std::string>(*option)) << option->name;
  }
}

TEST(ConfigTableTest, EveryDefaultIsAllowed) {
  for (const Option* option : AllOptions()) {
    if (Holds<std::vector<std::string>>(*option)) continue;
    std::string text = FormatValue(*option, Config());
    if (text.starts_with('"')) text = text.substr(1, text.size() - 2);
    Config config;
    EXPECT_TRUE(SetScalar(*option, text, &config).ok()) << option->name << ": " << text;
    EXPECT_EQ(FormatValue(*option, config), FormatValue(*option, Config()));
  }
}

TEST(ConfigTableTest, BothEndsOfARangeAreAllowedAndNothingBeyond) {
  for (const Option* option : AllOptions()) {
    if (option->unit == Unit::kNone) continue;
    const std::string suffix = option->unit == Unit::kMilliseconds ? "ms" : "";
    const auto allowed = [&](std::int64_t value) {
      Config config;
      return SetScalar(*option, std::to_string(value) + suffix, &config).ok();
    };
    EXPECT_TRUE(allowed(option->range.min)) << option->name;
    EXPECT_TRUE(allowed(option->range.max)) << option->name;
    EXPECT_FALSE(allowed(option->range.min - 1)) << option->name;
    EXPECT_FALSE(allowed(option->range.max + 1)) << option->name;
  }
}

TEST(ConfigTableTest, ANumberIsPrintedInItsLargestExactUnit) {
  EXPECT_EQ(Set("max_message_bytes", "1048576"), "1MiB");
  EXPECT_EQ(Set("max_message_bytes", "1025"), "1025");
  EXPECT_EQ(Set("max_message_bytes", "3KiB"), "3KiB");
  EXPECT_EQ(Set("kv_cache_bytes", "2048MiB"), "2GiB");
  EXPECT_EQ(Set("drain_timeout", "0ms"), "0s");
  EXPECT_EQ(Set("drain_timeout", "90s"), "90s");
  EXPECT_EQ(Set("drain_timeout", "120s"), "2m");
  EXPECT_EQ(Set("drain_timeout", "60m"), "1h");
  EXPECT_EQ(Set("drain_timeout", "1500ms"), "1500ms");
  EXPECT_EQ(Set("max_image_pixels", "4096"), "4096");
}

TEST(ConfigTableTest, ASuffixOfAnotherUnitIsAMistake) {
  const std::string duration = "expected a duration (such as 500ms, 30s, 5m or 1h) in [0s, 24h]";
  EXPECT_EQ(Set("drain_timeout", "3"), duration);
  EXPECT_EQ(Set("drain_timeout", "3MiB"), duration);
  EXPECT_EQ(Set("drain_timeout", "-1s"), duration);
  EXPECT_EQ(Set("drain_timeout", ""), duration);
  EXPECT_EQ(Set("max_n", "2s"), "expected an integer in [1, 16]");
  EXPECT_EQ(Set("max_n", "2 "), "expected an integer in [1, 16]");
  EXPECT_EQ(Set("max_image_pixels", "1MiB"), "expected a number of pixels in [1, 1000000000]");
  EXPECT_EQ(Set("kv_cache_bytes", "9223372036854775807GiB"),  // it would overflow
            "expected bytes (such as 4096, 64MiB or 2GiB) in [1MiB, 4096GiB]");
}

TEST(ConfigTableTest, WordsAndTruth) {
  EXPECT_EQ(Set("log_content", "true"), "true");
  EXPECT_EQ(Set("prefix_cache", "false"), "false");
  EXPECT_EQ(Set("prefix_cache", "no"), "expected true or false");
  EXPECT_EQ(Set("reload", "swap"), "swap");
  EXPECT_EQ(Set("reload", "Swap"), "expected one of beside, swap");
  EXPECT_EQ(Set("checkpoint", "a \"b\\"), "\"a \\\"b\\\\\"");
  EXPECT_EQ(Expected(*FindOption("checkpoint")), "text");
  EXPECT_EQ(Expected(*FindOption("devices")), "a list of text");
}

TEST(ConfigTableTest, AListGetsOneMoreItem) {
  EXPECT_EQ(Set("devices", "cuda:1"), "[\"cpu\", \"cuda:1\"]");
  EXPECT_EQ(Set("cors_origins", "*"), "[\"*\"]");
}

TEST(ConfigTableTest, FlagsHaveDashes) {
  EXPECT_EQ(FlagOf(*FindOption("vision_tower")), "--vision-tower");
  EXPECT_EQ(FlagOf(*FindOption("http_max_connections")), "--http-max-connections");
  EXPECT_EQ(FlagOf(*FindOption("http")), "--http");
}

}  // namespace
}  // namespace llava::server
