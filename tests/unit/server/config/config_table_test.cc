#include "server/config/config_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
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

TEST(ConfigTableTest, TheSectionsInTheOrderOfThePage) {
  std::vector<std::string> names;
  for (const Section& section : Sections()) names.emplace_back(section.name);
  EXPECT_THAT(names,
              ElementsAre("Model", "Reload", "Canary", "Engine", "Network", "Security", "Requests",
                          "Queue", "Batches", "Capture", "Log, traces, metrics"));
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
    EXPECT_EQ(Holds<std::int64_t>(*option) || Holds<std::optional<std::int64_t>>(*option), counts)
        << option->name;
    EXPECT_EQ(Holds<Duration>(*option) || Holds<std::optional<Duration>>(*option),
              option->unit == Unit::kMilliseconds)
        << option->name;
    EXPECT_EQ(option->unit != Unit::kNone, option->range.max > option->range.min) << option->name;
    EXPECT_TRUE(option->choices.empty() || Holds<std::string>(*option)) << option->name;
  }
}

TEST(ConfigTableTest, EveryDefaultIsAllowed) {
  for (const Option* option : AllOptions()) {
    if (Holds<std::vector<std::string>>(*option)) continue;
    if (Holds<std::map<std::string, std::string>>(*option)) continue;
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

TEST(ConfigTableTest, FlagsHaveDashes) {
  EXPECT_EQ(FlagOf(*FindOption("vision_tower")), "--vision-tower");
  EXPECT_EQ(FlagOf(*FindOption("http_max_connections")), "--http-max-connections");
  EXPECT_EQ(FlagOf(*FindOption("http")), "--http");
}

}  // namespace
}  // namespace llava::server
