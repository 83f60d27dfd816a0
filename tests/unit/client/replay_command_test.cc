#include "client/replay_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "client/exit_code.h"
#include "tests/support/temp_dir.h"

namespace llava::client {
namespace {

using ::testing::HasSubstr;

class ReplayCommandTest : public testing::Test {
 protected:
  int Run(const std::string& request, const std::string& response, const std::string& flags = "") {
    EXPECT_TRUE(WriteFile(dir_.path() + "/q", request).ok());
    EXPECT_TRUE(WriteFile(dir_.path() + "/r", response).ok());
    CLI::App app("", "llava");
    int exit_code = -1;
    AddReplayCommand(&app, &exit_code);
    testing::internal::CaptureStderr();
    app.parse(absl::StrCat("replay ", dir_.path(), "/r --request ", dir_.path(), "/q ",
                           "--http http://127.0.0.1:1/v1 ", flags));
    err_ = testing::internal::GetCapturedStderr();
    return exit_code;
  }

  const test::TempDir dir_;
  const std::string answer_ =
      R"({"object":"chat.completion","model":"m","system_fingerprint":"1-2-3",)"
      R"("choices":[{"message":{}}]})";
  std::string err_;
};

TEST_F(ReplayCommandTest, WhoCannotBeReachedIsNamed) {
  EXPECT_EQ(Run(R"({"messages":[]})", answer_), kNetworkError);
  EXPECT_THAT(err_, HasSubstr("http://127.0.0.1:1/v1: "));
}

TEST_F(ReplayCommandTest, WhatCannotBeReplayedSaysWhy) {
  EXPECT_EQ(Run(R"({"messages":[],"temperature":1})", answer_), kRequestError);
  EXPECT_THAT(err_, HasSubstr("no seed"));
  EXPECT_EQ(Run("[", answer_), kRequestError);
  EXPECT_THAT(err_, HasSubstr(dir_.path() + "/q"));
  EXPECT_EQ(Run(R"({"messages":[]})", answer_, "--ca /no/such/file"), kRequestError);
  EXPECT_THAT(err_, HasSubstr("/no/such/file"));
}

TEST_F(ReplayCommandTest, RowsWithoutAnAnswerAreNotTheSame) {
  const std::string row = "{\"custom_id\":\"a\"}\n";
  EXPECT_EQ(Run(row + row, "\n"), kRequestError);
  EXPECT_THAT(err_, HasSubstr(dir_.path() + "/r: has no answer to compare"));
}

}  // namespace
}  // namespace llava::client
