#include "training/tracking/mlflow_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

absl::Status Read(const std::string& text, MlflowOptions* options) {
  StrictYaml yaml = *StrictYaml::Parse(text, "recipe.yaml");
  ReadMlflow(yaml, options);
  return yaml.Finish();
}

TEST(MlflowOptionsTest, ReadsWhatMlflowUsersKnow) {
  MlflowOptions options;
  EXPECT_FALSE(options.wanted());
  const absl::Status read = Read(
      "uri: https://mlflow.example.com/base/\nexperiment: flags\nrun_name: night 7\n"
      "token_file: token\nallow_plain: true\n",
      &options);
  EXPECT_TRUE(read.ok()) << read;
  EXPECT_TRUE(options.wanted());
  EXPECT_EQ(options.uri, "https://mlflow.example.com/base/");
  EXPECT_EQ(options.experiment, "flags");
  EXPECT_EQ(options.run_name, "night 7");
  EXPECT_EQ(options.token_file, "token");
  EXPECT_TRUE(options.allow_plain);
}

TEST(MlflowOptionsTest, MistakesSayWhatIsExpectedAndNoSecret) {
  MlflowOptions options;
  const auto mistake = [&](const std::string& text) { return Message(Read(text, &options)); };
  EXPECT_THAT(mistake("experiment: a\n"), HasSubstr("uri"));
  EXPECT_THAT(mistake("uri: http://h\n"), HasSubstr("experiment"));
  const std::string with_password = mistake("uri: https://me:hunter2@h/\nexperiment: a\n");
  EXPECT_THAT(with_password, HasSubstr("recipe.yaml:1: uri"));
  EXPECT_THAT(with_password, HasSubstr("no user name"));
  EXPECT_THAT(with_password, Not(HasSubstr("hunter2")));
  EXPECT_THAT(mistake("uri: http://h\nexperiment: it's\n"), HasSubstr("experiment: expected 1 to"));
  EXPECT_THAT(mistake("uri: http://h\nexperiment: \"a\\tb\"\n"), HasSubstr("experiment"));
  EXPECT_THAT(mistake("uri: http://h\nexperiment: " + std::string(251, 'a') + "\n"),
              HasSubstr("experiment"));
  EXPECT_THAT(mistake("uri: http://h\nexperiment: a\nrun_name: ''\n"), HasSubstr("run_name"));
  EXPECT_THAT(mistake("uri: http://h\nexperiment: a\ntoken: x\n"), HasSubstr("token"));
}

TEST(MlflowOptionsTest, TheTokenComesFromItsFileOrItsVariable) {
  test::TempDir dir;
  MlflowOptions options;
  ::unsetenv("MLFLOW_TRACKING_TOKEN");
  EXPECT_EQ(*LoadMlflowToken(options), "");
  ::setenv("MLFLOW_TRACKING_TOKEN", "of-the-variable", 1);
  EXPECT_EQ(*LoadMlflowToken(options), "of-the-variable");
  options.token_file = dir.path() + "/token";
  EXPECT_TRUE(absl::IsNotFound(LoadMlflowToken(options).status()));
  std::ofstream(options.token_file) << "of-the-file\n";
  EXPECT_EQ(*LoadMlflowToken(options), "of-the-file");
  std::ofstream(options.token_file) << "two lines\nhunter2";
  EXPECT_THAT(Message(LoadMlflowToken(options).status()), Not(HasSubstr("hunter2")));
  ::unsetenv("MLFLOW_TRACKING_TOKEN");
}

}  // namespace
}  // namespace llava::training
