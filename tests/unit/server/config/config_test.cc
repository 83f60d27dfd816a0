#include "server/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace llava::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ErrorOf(const std::string& yaml) {
  const auto config = ParseConfig(yaml, "llavad.yaml");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << yaml;
  return std::string(config.status().message());
}

TEST(ConfigTest, AnEmptyFileGivesTheDefaults) {
  const auto config = ParseConfig("", "llavad.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(PrintConfig(*config), PrintConfig(Config()));
}

TEST(ConfigTest, ReadsEachType) {
  const auto config = ParseConfig(
      "checkpoint: /models/llava\n"
      "devices: [cpu, 'cuda:1']\n"
      "dtype: bfloat16\n"
      "threads: 3\n"
      "max_message_bytes: 8MiB\n"
      "max_image_bytes: 4096\n"
      "drain_timeout: 90s\n"
      "log_content: true\n",
      "llavad.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->checkpoint, "/models/llava");
  EXPECT_THAT(config->devices, ElementsAre("cpu", "cuda:1"));
  EXPECT_EQ(config->dtype, "bfloat16");
  EXPECT_EQ(config->threads, 3);
  EXPECT_EQ(config->max_message_bytes, 8 << 20);
  EXPECT_EQ(config->max_image_bytes, 4096);
  EXPECT_EQ(config->drain_timeout, std::chrono::seconds(90));
  EXPECT_TRUE(config->log_content);
}

TEST(ConfigTest, EachMistakeNamesItsLineAndWhatWasExpected) {
  EXPECT_EQ(ErrorOf("threads: 2\nhttp_thread: 3\n"),
            "llavad.yaml:2: http_thread: unknown key; did you mean http_threads?");
  EXPECT_EQ(ErrorOf("xyzzy: 3\n"), "llavad.yaml:1: xyzzy: unknown key");
  EXPECT_EQ(ErrorOf("\nthreads: many\n"),
            "llavad.yaml:2: threads: is 'many', expected auto, or an integer in [1, 1024]");
  EXPECT_EQ(ErrorOf("threads: \"2\"\n"),
            "llavad.yaml:1: threads: is '2' in quotes, expected auto, or an integer in [1, 1024]");
  EXPECT_EQ(ErrorOf("threads: 1025\n"),
            "llavad.yaml:1: threads: is '1025', expected auto, or an integer in [1, 1024]");
  EXPECT_EQ(ErrorOf("threads: [1]\n"),
            "llavad.yaml:1: threads: is a list, expected auto, or an integer in [1, 1024]");
  EXPECT_EQ(ErrorOf("log_content: yes\n"),
            "llavad.yaml:1: log_content: is 'yes', expected true or false");
  EXPECT_EQ(ErrorOf("dtype: float16\n"),
            "llavad.yaml:1: dtype: is 'float16', expected one of auto, float32, bfloat16");
  EXPECT_EQ(ErrorOf("devices: cpu\n"), "llavad.yaml:1: devices: is 'cpu', expected a list");
  EXPECT_EQ(ErrorOf("devices:\n- cpu\n- [cpu]\n"),
            "llavad.yaml:3: devices[1]: is a list, expected a text");
  EXPECT_EQ(ErrorOf("threads: 2\nthreads: 3\n"), "llavad.yaml:2: threads: comes twice");
  EXPECT_EQ(ErrorOf("- 1\n"), "llavad.yaml:1: is a list, expected a mapping");
  EXPECT_EQ(ErrorOf("checkpoint: [a]\n"), "llavad.yaml:1: checkpoint: is a list, expected text");
  EXPECT_THAT(ErrorOf("checkpoint:\n"), HasSubstr("checkpoint: is empty, expected text"));
  EXPECT_THAT(ErrorOf("drain_timeout: 30\n"), HasSubstr("is '30', expected a duration (such as"));
  EXPECT_THAT(ErrorOf("max_image_bytes: 99999999999999GiB\n"), HasSubstr("expected bytes"));
  EXPECT_THAT(ErrorOf("devices: [cpu\nhttp: x"), AllOf(HasSubstr("llavad.yaml:")));
}

TEST(ConfigTest, AMissingFileIsNotFound) {
  const auto config = ReadConfigFile("/nonexistent/llavad.yaml");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("/nonexistent/llavad.yaml"));
}

TEST(ConfigTest, FlagsOverride) {
  Config config;
  ASSERT_TRUE(SetOption("devices", "cpu,cpu", "--device", &config).ok());
  EXPECT_THAT(config.devices, ElementsAre("cpu", "cpu"));
  for (const char* odd : {"cpu,,cpu", "cpu,", ","}) {
    EXPECT_EQ(
        std::string(SetOption("devices", odd, "--device", &config).message()),
        absl::StrCat("--device: is '", odd, "', expected something on both sides of each comma"));
  }
  const absl::Status wrong = SetOption("dtype", "int3", "--dtype", &config);
  EXPECT_EQ(wrong.message(), "--dtype: int3: expected one of auto, float32, bfloat16");
  EXPECT_EQ(config.dtype, "auto");
}

TEST(ConfigTest, AnEmptyFlagEmptiesAList) {
  Config config;
  config.cors_origins = {"https://example.org"};
  ASSERT_TRUE(SetOption("cors_origins", "", "--cors-origins", &config).ok());
  EXPECT_TRUE(config.cors_origins.empty());
}

TEST(ConfigTest, WeightsAreThoseThatTheDevicesMultiplyWith) {
  Config config;
  const auto error = [&](std::vector<std::string> devices, const std::string& weights) {
    config.devices = std::move(devices);
    config.weights = weights;
    return std::string(CheckConfig(config).message());
  };
  for (const char* weights : {"auto", "int8", "int4"}) EXPECT_EQ(error({"cpu"}, weights), "");
  for (const char* weights : {"auto", "int8", "fp8"}) {
    EXPECT_EQ(error({"cuda:1", "cuda:0+cuda:2"}, weights), "");
  }
  EXPECT_THAT(error({"cuda", "cpu+cpu"}, "fp8"),
              HasSubstr("weights: fp8 is not served on the device cpu+cpu"));
  EXPECT_THAT(error({"cpu", "cuda:1"}, "int4"),
              HasSubstr("weights: int4 is not served on the device cuda:1"));
}

TEST(ConfigTest, AKvCacheThatADeviceDoesNotServeIsNamed) {
  const auto error = [](std::vector<std::string> devices, const char* kv_cache) {
    Config config;
    config.checkpoint = "/models/llava";
    config.devices = std::move(devices);
    config.kv_cache = kv_cache;
    return std::string(CheckConfig(config).message());
  };
  for (const char* kv_cache : {"auto", "int8"}) EXPECT_EQ(error({"cpu"}, kv_cache), "");
  for (const char* kv_cache : {"auto", "fp8"}) {
    EXPECT_EQ(error({"cuda:1", "cuda:0+cuda:2"}, kv_cache), "");
  }
  EXPECT_THAT(error({"cuda", "cpu"}, "fp8"),
              HasSubstr("kv_cache: fp8 is not served on the device cpu"));
  EXPECT_THAT(error({"cpu", "cuda:1"}, "int8"),
              HasSubstr("kv_cache: int8 is not served on the device cuda:1"));
}

TEST(ConfigTest, ThePrintedConfigurationReadsBackAsItself) {
  Config config;
  config.checkpoint = "/a \"b\\c\"/llava";
  config.watch = "two\nlines\tand \x7f";
  config.devices = {"cpu", "cuda:0"};
  config.drain_timeout = std::chrono::milliseconds(1500);
  config.max_image_pixels = 1234567;
  config.log_content = true;
  const std::string printed = PrintConfig(config);
  EXPECT_THAT(printed, HasSubstr("\n# threads: auto\n"));
  EXPECT_THAT(printed, HasSubstr("\ndrain_timeout: 1500ms\n"));
  EXPECT_THAT(printed, HasSubstr("# Default: 30s\n"));
  const auto again = ParseConfig(printed, "printed");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(PrintConfig(*again), printed);
  EXPECT_EQ(again->watch, config.watch);
}

TEST(ConfigTest, CommentsArePrintedInLinesOf100Columns) {
  std::istringstream lines(PrintConfig(Config()));
  std::size_t longest = 0;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 100u) << line;
    longest = std::max(longest, line.size());
  }
  EXPECT_GT(longest, 90u);
}

TEST(ConfigTest, WhatIsPrintedSaysWhereItCameFrom) {
  Origins origins;
  const auto config = ParseConfig("max_n: 3\nthreads: auto\n", "llavad.yaml", &origins);
  ASSERT_TRUE(config.ok()) << config.status();
  origins["max_n"] = "--max-n";
  const std::string printed = PrintConfig(*config, origins);
  EXPECT_THAT(printed, HasSubstr("# From: --max-n\nmax_n: 3\n"));
  EXPECT_THAT(printed, HasSubstr("# From: llavad.yaml\n# threads: auto\n")) << "its default";
  EXPECT_EQ(origins.size(), 2U);
}

TEST(ConfigTest, OptionsThatNeedEachOther) {
  Config config;
  EXPECT_TRUE(CheckConfig(config).ok());
  config.tls_certificate = "cert.pem";
  EXPECT_THAT(std::string(CheckConfig(config).message()), HasSubstr("tls_key"));
  config.tls_key = "key.pem";
  EXPECT_TRUE(CheckConfig(config).ok());
  config.tls_certificate = config.tls_key = "";
  config.tls_client_ca = "ca.pem";
  EXPECT_THAT(std::string(CheckConfig(config).message()), HasSubstr("tls_client_ca"));
  config = Config();
  config.devices.clear();
  EXPECT_THAT(std::string(CheckConfig(config).message()), HasSubstr("devices"));
  config = Config();
  config.listen.clear();
  EXPECT_THAT(std::string(CheckConfig(config).message()), HasSubstr("listen"));
}

TEST(ConfigTest, AnEntryOfDevicesIsOneOrASum) {
  Config config;
  for (const char* device : {"cpu", "cuda", "cuda:1", "cpu+cpu", "cuda:0+cuda:1+cuda:2"}) {
    config.devices = {device};
    EXPECT_TRUE(CheckConfig(config).ok()) << device;
  }
  for (const char* device :
       {"", "tpu", "cuda:", "cuda:-1", "cuda:00", "cuda: 1", "cuda:0+", "+cpu", "cpu+tpu"}) {
    config.devices = {device};
    EXPECT_EQ(CheckConfig(config).message(),
              absl::StrCat("devices: has '", device,
                           "', expected cpu, cuda, cuda:N or a sum of such, cuda:0+cuda:1"));
  }
}

TEST(ConfigTest, ASumIsOfDevicesOfOneKindAndNoGpuTwice) {
  const auto error_of = [](const char* device) {
    Config config;
    config.devices = {device};
    return std::string(CheckConfig(config).message());
  };
  for (const char* device : {"cpu+cuda", "cuda:1+cpu", "cuda:0+cuda:1+cpu"}) {
    EXPECT_EQ(error_of(device),
              absl::StrCat("devices: \"", device,
                           "\" adds up devices of two kinds, expected CPUs alone or GPUs alone"));
  }
  EXPECT_EQ(error_of("cuda:1+cuda:0+cuda:1"),
            "devices: \"cuda:1+cuda:0+cuda:1\" has cuda:1 twice, expected different GPUs");
  EXPECT_EQ(error_of("cuda+cuda:0"),
            "devices: \"cuda+cuda:0\" has cuda:0 twice, expected different GPUs");
}

// What may be equal is allowed when it is equal.
TEST(ConfigTest, BoundsOfOneOptionByAnother) {
  Config config;
  config.max_batch_tokens = config.max_running = 8;
  EXPECT_TRUE(CheckConfig(config).ok());
  config.max_running = 9;
  EXPECT_EQ(CheckConfig(config).message(),
            "max_running: 9 is above max_batch_tokens, 8: each answer needs a token in every step");
  config = Config();
  config.canary_answers = config.canary_min_answers = 5;
  EXPECT_TRUE(CheckConfig(config).ok());
  config.canary_min_answers = 6;
  EXPECT_EQ(CheckConfig(config).message(), "canary_min_answers: 6 is above canary_answers, 5");
}

TEST(ConfigTest, EachTenantWhoseTurnsAreKeptHasAShareThatIsWorthIt) {
  Config config;
  config.capture_texts = {"ann"};
  EXPECT_THAT(CheckConfig(config).message(), HasSubstr("capture_dir: is empty"));
  config.capture_dir = "/capture";
  config.capture_bytes = std::int64_t{64} << 20;
  config.capture_texts = {"a", "b", "c", "d"};
  config.capture_pictures = {"a", "b"};  // named twice, and one tenant
  EXPECT_TRUE(CheckConfig(config).ok());
  config.capture_pictures = {"e"};
  EXPECT_THAT(CheckConfig(config).message(),
              HasSubstr("capture_bytes: is 67108864 for 5 tenants, expected at least 16777216"));
  config.capture_bytes = std::int64_t{1} << 40;
  for (int i = 0; i < 256; ++i) config.capture_texts.push_back(absl::StrCat("t", i));
  EXPECT_THAT(CheckConfig(config).message(), HasSubstr("name 261 tenants, expected at most 256"));
}

// LLAVA_UPDATE_DOCS=1 writes the page anew.
TEST(ConfigTest, TheReferencePageIsInStepWithTheTable) {
  const std::string path = "docs/configuration.md";
  if (std::getenv("LLAVA_UPDATE_DOCS") != nullptr) std::ofstream(path) << ConfigReference();
  std::ostringstream page;
  page << std::ifstream(path).rdbuf();
  EXPECT_EQ(page.str(), ConfigReference()) << "run config_test with LLAVA_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace llava::server
