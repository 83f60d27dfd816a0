#include "base/machine/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"

namespace llava {
namespace {

using ::testing::HasSubstr;

class ChildProcessTest : public ::testing::Test {
 protected:
  absl::StatusOr<ChildProcess> Start(const std::vector<std::string>& arguments) {
    return ChildProcess::Start(arguments, ::testing::TempDir(), log_);
  }

  static std::string EndOf(ChildProcess& child) {
    pollfd ended{.fd = child.descriptor(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&ended, 1, 60'000), 1);
    return child.Ended().value_or("runs");
  }

  const std::string log_ = ::testing::TempDir() + "/child_process_test.log";

  void SetUp() override { std::filesystem::remove(log_); }
};

TEST_F(ChildProcessTest, WhatItSaysGoesToTheLogAndItsEndIsTold) {
  auto child = Start({"/bin/sh", "-c", "echo out; echo err >&2"});
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(EndOf(*child), "");
  EXPECT_EQ(*ReadFile(log_, 100), "out\nerr\n");
  auto failing = Start({"/bin/sh", "-c", "exit 3"});
  ASSERT_TRUE(failing.ok());
  EXPECT_EQ(EndOf(*failing), "ended with exit code 3");
}

TEST_F(ChildProcessTest, RunsUntilItIsSignalled) {
  auto child = Start({"/bin/sh", "-c", "sleep 1000"});
  ASSERT_TRUE(child.ok());
  EXPECT_FALSE(child->Ended().has_value());
  child->Signal(SIGTERM);
  EXPECT_THAT(EndOf(*child), HasSubstr("was killed by signal 15"));
}

TEST_F(ChildProcessTest, AProgramThatIsNotThereIsAnError) {
  const auto child = Start({"/no/such/program"});
  EXPECT_TRUE(absl::IsNotFound(child.status())) << child.status();
}

}  // namespace
}  // namespace llava
