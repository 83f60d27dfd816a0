#include "client/chat_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <boost/json/parse.hpp>

#include "client/exit_code.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/client/fake_server.h"

namespace llava::client {
namespace {

using ::testing::HasSubstr;

class ChatCommandTest : public ::testing::Test {
 protected:
  ChatCommandTest() : server_(&chat_) {}

  // The exit code; what is printed is in out_ and err_.
  int Run(std::vector<std::string> arguments) {
    CLI::App app;
    int exit_code = -1;
    AddChatCommand(&app, &exit_code);
    arguments.insert(arguments.begin(), {"chat", "--server", server_.address()});
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    app.parse(arguments);
    out_ = ::testing::internal::GetCapturedStdout();
    err_ = ::testing::internal::GetCapturedStderr();
    return exit_code;
  }

  FakeChat chat_;
  FakeServer server_;
  std::string out_, err_;
};

TEST_F(ChatCommandTest, AsksOnceWithWhatItWasTold) {
  EXPECT_EQ(Run({"What?", "--image", "tests/golden/data/images/gray.png", "--system", "Be short.",
                 "--model", "m", "--max-tokens", "5", "--temperature", "0.5", "--top-p", "0.9",
                 "--seed", "3", "--token", "t", "--tenant", "bob"}),
            kOk);
  EXPECT_EQ(out_, "red fox\n");
  const v1::ChatRequest request = chat_.requests().at(0);
  EXPECT_EQ(request.model(), "m");
  EXPECT_EQ(request.messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_TRUE(request.messages(1).parts(0).has_image());
  EXPECT_EQ(request.messages(1).parts(1).text(), "What?");
  EXPECT_EQ(request.sampling().max_tokens(), 5);
  EXPECT_EQ(request.sampling().temperature(), 0.5);
  EXPECT_EQ(request.sampling().top_p(), 0.9);
  EXPECT_EQ(request.sampling().seed(), 3u);
  EXPECT_EQ(chat_.metadata("authorization"), "Bearer t");
  EXPECT_EQ(chat_.metadata("x-tenant"), "bob");
}

TEST_F(ChatCommandTest, WhatIsNotSaidIsNotSent) {
  EXPECT_EQ(Run({"What?"}), kOk);
  const v1::SamplingOptions sampling = chat_.requests().at(0).sampling();
  EXPECT_FALSE(sampling.has_max_tokens() || sampling.has_temperature() || sampling.has_seed());
}

TEST_F(ChatCommandTest, JsonIsOneObject) {
  EXPECT_EQ(Run({"What?", "--json"}), kOk);
  const auto answer = boost::json::parse(out_);
  EXPECT_EQ(answer.at("text"), "red fox");
  EXPECT_EQ(answer.at("usage").at("generated_tokens"), 2);
  EXPECT_FALSE(answer.as_object().contains("error"));
  chat_.FailWith({grpc::INVALID_ARGUMENT, "no"});
  EXPECT_EQ(Run({"What?", "--json"}), kRequestError);
  EXPECT_EQ(boost::json::parse(out_).at("error").at("message"), "no");
}

TEST_F(ChatCommandTest, SaysWhatWentWrong) {
  chat_.FailWith({grpc::UNAVAILABLE, "draining"});
  EXPECT_NE(Run({"What?"}), kOk);
  EXPECT_THAT(err_, HasSubstr("draining"));
  EXPECT_EQ(Run({"What?", "--image", "/nonexistent.png"}), kRequestError);
  EXPECT_THAT(err_, HasSubstr("/nonexistent.png"));
}

TEST_F(ChatCommandTest, KeepsTheConversation) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/said.json";
  EXPECT_EQ(Run({"What?", "--save", path}), kOk);
  EXPECT_EQ(::access(path.c_str(), R_OK), 0);
}

}  // namespace
}  // namespace llava::client
