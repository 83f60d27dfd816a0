#include "server/app/serve_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace llava::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// What the daemon would run with after `llavad FLAGS...`.
absl::StatusOr<Config> ConfigOf(std::vector<std::string> flags, Origins* from = nullptr) {
  CLI::App app("", "llavad");
  ServeCommand command(&app);
  std::reverse(flags.begin(), flags.end());  // as CLI11 wants them
  app.parse(flags);
  Origins origins;
  return command.MakeConfig(from == nullptr ? &origins : from);
}

// A value that differs from the default, as the flag takes it.
std::string AnotherValue(const Option& option) {
  Config config;
  const std::string now = FormatValue(option, config);
  for (const std::string& value : {std::string("true"), std::string("false")}) {
    if (std::holds_alternative<bool Config::*>(option.member) && value != now) return value;
  }
  for (const absl::string_view choice : option.choices) {
    if (choice != now) return std::string(choice);
  }
  if (std::holds_alternative<std::map<std::string, std::string> Config::*>(option.member)) {
    return "name=folder";
  }
  if (option.unit == Unit::kNone) return "127.0.0.1:1";
  const std::string suffix = option.unit == Unit::kMilliseconds ? "ms" : "";
  for (const std::int64_t value : {option.range.min, option.range.max}) {
    const std::string text = std::to_string(value) + suffix;
    if (SetScalar(option, text, &config).ok() && FormatValue(option, config) != now) return text;
  }
  return "";
}

TEST(ServeCommandTest, EveryOptionIsAFlagThatSetsItsField) {
  for (const Section& section : Sections()) {
    for (const Option& option : section.options) {
      CLI::App app("", "llavad");
      ServeCommand command(&app);
      const CLI::Option* flag = app.get_option_no_throw(FlagOf(option));
      ASSERT_NE(flag, nullptr) << FlagOf(option);
      EXPECT_EQ(flag->get_group(), section.name);
      EXPECT_EQ(flag->get_description(), option.help);
      Config expected;
      const std::string value = AnotherValue(option);
      ASSERT_TRUE(SetOption(option.name, value, "", &expected).ok()) << option.name;
      if (!CheckConfig(expected).ok()) continue;  // it needs another one beside it
      const auto config = ConfigOf({FlagOf(option), value});
      ASSERT_TRUE(config.ok()) << config.status();
      EXPECT_EQ(PrintConfig(*config), PrintConfig(expected)) << option.name;
      EXPECT_NE(PrintConfig(*config), PrintConfig(Config())) << option.name;
    }
  }
}

TEST(ServeCommandTest, OptionsThatNeedEachOtherAreFlagsToo) {
  const auto tls = ConfigOf(
      {"--tls-certificate", "cert.pem", "--tls-key", "key.pem", "--tls-client-ca", "ca.pem"});
  ASSERT_TRUE(tls.ok()) << tls.status();
  EXPECT_EQ(tls->tls_certificate, "cert.pem");
  EXPECT_EQ(tls->tls_key, "key.pem");
  EXPECT_EQ(tls->tls_client_ca, "ca.pem");
  const auto seats = ConfigOf({"--max-running", "4", "--max-batch-tokens", "4"});
  ASSERT_TRUE(seats.ok()) << seats.status();
  EXPECT_EQ(seats->max_batch_tokens, 4);
  const auto canary = ConfigOf({"--canary-min-answers", "1", "--canary-answers", "1"});
  ASSERT_TRUE(canary.ok()) << canary.status();
  EXPECT_EQ(canary->canary_answers, 1);
}

TEST(ServeCommandTest, TheHelpGroupsTheFlagsBySection) {
  CLI::App app("", "llavad");
  ServeCommand command(&app);
  const std::string help = app.help();
  std::size_t last = 0;
  for (const Section& section : Sections()) {
    const std::size_t place = help.find("\n" + std::string(section.name) + ":\n");
    ASSERT_NE(place, std::string::npos) << section.name << help;
    EXPECT_GT(place, last) << section.name;
    last = place;
  }
  EXPECT_THAT(help, HasSubstr("--vision-tower TEXT "));
  EXPECT_THAT(help, HasSubstr("--kv-cache-bytes BYTES|auto=auto"));
  EXPECT_THAT(help, HasSubstr("--reload beside|swap=beside"));
}

TEST(ServeCommandTest, FlagsOverrideTheFile) {
  test::TempDir dir;
  const std::string file = dir.path() + "/llavad.yaml";
  std::ofstream(file) << "max_n: 3\nthreads: 2\n";
  const auto config = ConfigOf({"--config", file, "--max-n", "5"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->max_n, 5);
  EXPECT_EQ(config->threads, 2);
}

TEST(ServeCommandTest, AVariableIsBetweenFileAndFlag) {
  test::TempDir dir;
  const std::string file = dir.path() + "/llavad.yaml";
  std::ofstream(file) << "max_n: 3\nthreads: 2\nmax_images: 2\n";
  setenv("LLAVAD_CONFIG", file.c_str(), 1);
  setenv("LLAVAD_MAX_N", "4", 1);
  setenv("LLAVAD_MAX_IMAGES", "5", 1);
  Origins from;
  const auto config = ConfigOf({"--max-images", "6"}, &from);
  setenv("LLAVAD_MAX_N", "17", 1);
  const auto wrong = ConfigOf({});
  for (const char* name : {"LLAVAD_CONFIG", "LLAVAD_MAX_N", "LLAVAD_MAX_IMAGES"}) unsetenv(name);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->threads, 2);
  EXPECT_EQ(config->max_n, 4);
  EXPECT_EQ(config->max_images, 6);
  EXPECT_THAT(from, ElementsAre(Pair("max_images", "--max-images"), Pair("max_n", "LLAVAD_MAX_N"),
                                Pair("threads", file)));
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr("LLAVAD_MAX_N: 17"));
}

TEST(ServeCommandTest, ListsHaveCommasAndMayBeEmpty) {
  const auto config = ConfigOf({"--device", "cpu,cuda:1", "--cors-origins", "", "--http", ""});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->devices, ElementsAre("cpu", "cuda:1"));
  EXPECT_THAT(config->cors_origins, IsEmpty());
  EXPECT_EQ(config->http, "");
}

TEST(ServeCommandTest, AMistakeNamesTheFlag) {
  EXPECT_EQ(ConfigOf({"--max-n", "17"}).status().message(),
            "--max-n: 17: expected an integer in [1, 16]");
  EXPECT_THAT(std::string(ConfigOf({"--tls-key", "k"}).status().message()),
              HasSubstr("expected both of them"));
  EXPECT_EQ(ConfigOf({"--config", "/nonexistent/x.yaml"}).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace llava::server
