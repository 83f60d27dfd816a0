// The values of options as text, which server/config/config_table.h declares.
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>

#include "server/config/config_table.h"

namespace llava::server {
namespace {

// Sets `name` to `text`, and gives it back as it is printed; or the error.
std::string Set(absl::string_view name, const std::string& text) {
  Config config;
  const Option& option = *FindOption(name);
  const absl::Status status = SetScalar(option, text, &config);
  return status.ok() ? FormatValue(option, config) : std::string(status.message());
}

TEST(ConfigValueTest, ANumberIsPrintedInItsLargestExactUnit) {
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

TEST(ConfigValueTest, ASuffixOfAnotherUnitIsAMistake) {
  const std::string duration = "expected a duration (such as 500ms, 30s, 5m or 1h) in [0s, 24h]";
  EXPECT_EQ(Set("drain_timeout", "3"), duration);
  EXPECT_EQ(Set("drain_timeout", "3MiB"), duration);
  EXPECT_EQ(Set("drain_timeout", "-1s"), duration);
  EXPECT_EQ(Set("drain_timeout", ""), duration);
  EXPECT_EQ(Set("max_n", "2s"), "expected an integer in [1, 16]");
  EXPECT_EQ(Set("max_n", "2 "), "expected an integer in [1, 16]");
  EXPECT_EQ(Set("max_image_pixels", "1MiB"), "expected a number of pixels in [1, 1000000000]");
  EXPECT_EQ(Set("kv_cache_bytes", "9223372036854775807GiB"),  // it would overflow
            "expected auto, or bytes (such as 4096, 64MiB or 2GiB) in [1MiB, 4096GiB]");
  EXPECT_EQ(Set("kv_cache_bytes", "17179869185GiB"),  // to 1GiB, were 64 bits taken of it
            "expected auto, or bytes (such as 4096, 64MiB or 2GiB) in [1MiB, 4096GiB]");
}

TEST(ConfigValueTest, AutoIsNoValue) {
  Config config;
  const Option& option = *FindOption("max_running");
  EXPECT_EQ(FormatValue(option, config), "auto");
  ASSERT_TRUE(SetScalar(option, "12", &config).ok());
  EXPECT_EQ(config.max_running, 12);
  ASSERT_TRUE(SetScalar(option, "auto", &config).ok());
  EXPECT_EQ(config.max_running, std::nullopt);
  EXPECT_EQ(Set("max_running", "Auto"), "expected auto, or an integer in [1, 4096]");
  EXPECT_EQ(Set("threads", "0"), "expected auto, or an integer in [1, 1024]");
  EXPECT_EQ(Set("max_n", "auto"), "expected an integer in [1, 16]");
}

TEST(ConfigValueTest, WordsAndTruth) {
  EXPECT_EQ(Set("log_content", "true"), "true");
  EXPECT_EQ(Set("prefix_cache", "false"), "false");
  EXPECT_EQ(Set("prefix_cache", "no"), "expected true or false");
  EXPECT_EQ(Set("reload", "swap"), "swap");
  EXPECT_EQ(Set("reload", "Swap"), "expected one of beside, swap");
  EXPECT_EQ(Set("checkpoint", "a \"b\\"), "\"a \\\"b\\\\\"");
  EXPECT_EQ(Expected(*FindOption("checkpoint")), "text");
  EXPECT_EQ(Expected(*FindOption("devices")), "a list of text");
}

TEST(ConfigValueTest, AListGetsOneMoreItem) {
  EXPECT_EQ(Set("devices", "cuda:1"), "[\"cpu\", \"cuda:1\"]");
  EXPECT_EQ(Set("cors_origins", "*"), "[\"*\"]");
}

TEST(ConfigValueTest, WhatIsRefusedChangesNothing) {
  Config config;
  for (const auto& [name, text] :
       {std::pair("max_n", "17"), std::pair("drain_timeout", "25h"), std::pair("reload", "never"),
        std::pair("prefix_cache", "TRUE"), std::pair("kv_cache_bytes", "1KiB")}) {
    const Option& option = *FindOption(name);
    EXPECT_FALSE(SetScalar(option, text, &config).ok()) << name;
    EXPECT_EQ(FormatValue(option, config), FormatValue(option, Config())) << name;
  }
}

TEST(ConfigValueTest, DurationsAreCountedInMilliseconds) {
  Config config;
  const Option& option = *FindOption("drain_timeout");
  for (const auto& [text, expected] :
       {std::pair("1500ms", 1500), std::pair("7s", 7000), std::pair("2m", 120'000),
        std::pair("24h", 86'400'000), std::pair("0s", 0)}) {
    ASSERT_TRUE(SetScalar(option, text, &config).ok()) << text;
    EXPECT_EQ(config.drain_timeout, std::chrono::milliseconds(expected)) << text;
  }
}

TEST(ConfigValueTest, ADurationMayBeAuto) {
  Config config;
  const Option& option = *FindOption("max_step_time");
  EXPECT_EQ(FormatValue(option, config), "auto");
  ASSERT_TRUE(SetScalar(option, "80ms", &config).ok());
  EXPECT_EQ(config.max_step_time, std::chrono::milliseconds(80));
  EXPECT_EQ(FormatValue(option, config), "80ms");
  EXPECT_EQ(Set("max_step_time", "0s"),
            "expected auto, or a duration (such as 500ms, 30s, 5m or 1h) in [1ms, 10m]");
  EXPECT_EQ(config.max_step_time, std::chrono::milliseconds(80));
  ASSERT_TRUE(SetScalar(option, "auto", &config).ok());
  EXPECT_FALSE(config.max_step_time.has_value());
  EXPECT_EQ(Set("drain_timeout", "auto"),
            "expected a duration (such as 500ms, 30s, 5m or 1h) in [0s, 24h]");
}

TEST(ConfigValueTest, BytesAreCountedInPowersOfTwo) {
  Config config;
  const Option& option = *FindOption("max_message_bytes");
  for (const auto& [text, expected] : {std::pair("65536", 1 << 16), std::pair("64KiB", 1 << 16),
                                       std::pair("3MiB", 3 << 20), std::pair("1GiB", 1 << 30)}) {
    ASSERT_TRUE(SetScalar(option, text, &config).ok()) << text;
    EXPECT_EQ(config.max_message_bytes, expected) << text;
  }
}

}  // namespace
}  // namespace llava::server
