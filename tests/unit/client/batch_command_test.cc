#include "client/batch_command.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "client/exit_code.h"

namespace llava::client {
namespace {

class BatchCommandTest : public ::testing::Test {
 protected:
  // The exit code of `llava batch` with such arguments.
  int Run(const std::string& arguments) {
    CLI::App app;
    int exit_code = -1;
    AddBatchCommand(&app, &exit_code);
    app.parse("batch " + rows_ + " --out " + folder_ + "/answers.jsonl " + arguments);
    return exit_code;
  }

  const std::string folder_ = ::testing::TempDir() + "/batch_command_test";
  const std::string rows_ = folder_ + "/rows.jsonl";

  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    std::ofstream(rows_) << "{\"id\": \"a\", \"prompt\": \"b\"}\n";
  }
};

TEST_F(BatchCommandTest, ASchemaThatIsNoneIsFoundBeforeAnyRow) {
  const std::string schema = folder_ + "/schema.json";
  EXPECT_EQ(Run("--server 127.0.0.1:1 --schema " + schema), kRequestError);  // not there
  std::ofstream(schema) << "{";
  EXPECT_EQ(Run("--server 127.0.0.1:1 --schema " + schema), kRequestError);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/answers.jsonl"));
}

TEST_F(BatchCommandTest, WhatNoRowCouldDoIsSaidBeforeAnyRow) {
  const auto says = [](const std::string& arguments, const std::string& what) {
    CLI::App app;
    int exit_code = -1;
    AddBatchCommand(&app, &exit_code);
    testing::internal::CaptureStderr();
    app.parse("batch --server 127.0.0.1:1 " + arguments);
    EXPECT_EQ(exit_code, kRequestError);
    EXPECT_NE(testing::internal::GetCapturedStderr().find(what), std::string::npos) << arguments;
  };
  std::ofstream(folder_ + "/a.png") << "a picture";
  const std::string answers = folder_ + "/answers";
  says(folder_ + " --out " + answers + ".csv", "pictures bring no prompt, expected --prompt");
  says(folder_ + "/*.png --out " + answers + ".csv", "pictures bring no prompt");
  says(rows_ + " --out " + answers + ".parquet", "answers are JSON lines or CSV");
  EXPECT_FALSE(std::filesystem::exists(answers + ".csv"));
  EXPECT_FALSE(std::filesystem::exists(answers + ".parquet"));
}

TEST_F(BatchCommandTest, AServerOfItsOwnThatCannotStartIsAnError) {
  EXPECT_EQ(Run("--checkpoint " + folder_ + " --llavad /no/such/program"), kRequestError);
  EXPECT_NE(Run("--checkpoint " + folder_ + " --llavad /bin/false"), kOk);
  EXPECT_THROW(Run("--checkpoint a --server b:1"), CLI::ExcludesError);
}

}  // namespace
}  // namespace llava::client
