#include "server/config/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/config/config_table.h"

namespace llava::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class EnvironmentTest : public testing::Test {
 protected:
  absl::Status Set(std::vector<const char*> variables) {
    variables.push_back(nullptr);
    return SetFromEnvironment(variables.data(), &config_, &origins_);
  }

  Config config_;
  Origins origins_;
};

TEST_F(EnvironmentTest, SetsOptionsAndSaysSo) {
  ASSERT_TRUE(Set({"HOME=/root", "LLAVAD_MAX_N=5", "LLAVAD_DRAIN_TIMEOUT=90s",
                   "LLAVAD_HTTP=", "LLAVAD_DEVICES=cuda:0,cuda:1", "LLAVAD_CHECKPOINT=/models/a=b"})
                  .ok());
  EXPECT_EQ(config_.max_n, 5);
  EXPECT_EQ(config_.drain_timeout, std::chrono::seconds(90));
  EXPECT_EQ(config_.http, "");
  EXPECT_THAT(config_.devices, ElementsAre("cuda:0", "cuda:1"));
  EXPECT_EQ(config_.checkpoint, "/models/a=b");
  EXPECT_THAT(origins_, testing::Contains(Pair("max_n", "LLAVAD_MAX_N")));
  EXPECT_EQ(origins_.size(), 5U);
}

TEST_F(EnvironmentTest, AMistakeNamesTheVariable) {
  EXPECT_EQ(Set({"LLAVAD_MAX_N=17"}).message(), "LLAVAD_MAX_N: 17: expected an integer in [1, 16]");
  EXPECT_EQ(Set({"LLAVAD_MAX_N="}).message(), "LLAVAD_MAX_N: : expected an integer in [1, 16]");
  for (const char* unknown :
       {"LLAVAD_KV_BYTES=1GiB", "LLAVAD_max_n=5", "LLAVAD_=", "LLAVAD_PORTS=1"}) {
    EXPECT_THAT(std::string(Set({unknown}).message()), HasSubstr("there is no such option"))
        << unknown;
  }
}

TEST_F(EnvironmentTest, WhatIsNotMeantForTheDaemonIsLeftAlone) {
  ASSERT_TRUE(Set({"LLAVAD_CONFIG=/etc/llavad.yaml", "LLAVAD_SERVICE_HOST=10.0.0.7",
                   "LLAVAD_SERVICE_PORT_HTTP=80", "LLAVAD_PORT=tcp://10.0.0.7:80",
                   "LLAVAD_PORT_80_TCP_ADDR=10.0.0.7", "LLAVA_TOKEN=x", "llavad_max_n=5"})
                  .ok());
  EXPECT_THAT(origins_, IsEmpty());
  EXPECT_EQ(PrintConfig(config_), PrintConfig(Config()));
}

TEST_F(EnvironmentTest, NoOptionIsCalledAsWhatKubernetesSets) {
  for (const Section& section : Sections()) {
    for (const Option& option : section.options) {
      EXPECT_NE(VariableOf(option.name), kConfigVariable);
      const std::string set = VariableOf(option.name) + "=";
      const bool is_option =
          !Set({set.c_str()}).ok() || origins_.contains(std::string(option.name));
      EXPECT_TRUE(is_option) << option.name;
    }
  }
}

}  // namespace
}  // namespace llava::server
