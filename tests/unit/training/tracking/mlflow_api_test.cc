#include "training/tracking/mlflow_api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/support/scripted_server.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using test::HttpText;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kToken[] = "s3cret-token";

class MlflowApiTest : public ::testing::Test {
 protected:
  std::unique_ptr<MlflowApi> Make(const std::string& url) {
    MlflowOptions options{.uri = url, .token_file = dir_.path() + "/token"};
    std::ofstream(options.token_file) << kToken;
    auto api = MlflowApi::Make(options, clock_);
    EXPECT_TRUE(api.ok()) << api.status();
    return *std::move(api);
  }

  // What a call says that is answered so.
  absl::Status Answered(const std::string& answer) {
    test::ScriptedServer server({answer});
    return Make(server.url())->CreateExperiment("e").status();
  }

  RealClock clock_;
  test::TempDir dir_;
};

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST_F(MlflowApiTest, AsksAsTheDocumentationSays) {
  test::ScriptedServer server(
      {HttpText(200, R"({"experiments":[{"name":"E","experiment_id":"1"},
                                         {"name":"e","experiment_id":"2"}]})"),
       HttpText(200, R"({"experiment_id":"3"})"), HttpText(200, R"({"runs":[]})"),
       HttpText(200, R"({"run":{"info":{"run_id":"abc"}}})"), HttpText(200, "{}")});
  const auto api = Make(server.url());
  EXPECT_EQ(*api->FindExperiment("e"), "2");
  EXPECT_EQ(*api->CreateExperiment("new"), "3");
  EXPECT_TRUE(absl::IsNotFound(api->FindRun("3", "k").status()));
  RunRecord record;
  record.key = "k";
  record.started = 17;
  record.options.run_name = "night";
  EXPECT_EQ(*api->CreateRun("3", record), "abc");
  EXPECT_TRUE(api->UpdateRun("abc", kRunning, 0).ok());
  EXPECT_TRUE(api->UpdateRun("abc", kFailed, 18).ok());
  EXPECT_TRUE(api->LogMetrics("abc", {{"loss", 0.5, 1000, 2}}).ok());
  EXPECT_TRUE(api->LogParams("abc", {{"a", "b"}}).ok());
  EXPECT_TRUE(api->SetTags("abc", {{"c", "d"}}).ok());
  EXPECT_EQ(server.authorization(), absl::StrCat("Bearer ", kToken));
  EXPECT_THAT(
      server.bodies(),
      ElementsAre(R"({"filter":"name = 'e'","max_results":10,"view_type":"ALL"})",
                  R"({"name":"new"})",
                  R"({"experiment_ids":["3"],"filter":"tags.`llava.run` = 'k'","max_results":1})",
                  R"({"experiment_id":"3","run_name":"night","start_time":17,)"
                  R"("tags":[{"key":"llava.run","value":"k"}]})",
                  R"({"run_id":"abc","status":"RUNNING"})",
                  R"({"run_id":"abc","status":"FAILED","end_time":18})",
                  R"({"run_id":"abc","metrics":[{"key":"loss","value":5E-1,"timestamp":1000,)"
                  R"("step":2}]})",
                  R"({"run_id":"abc","params":[{"key":"a","value":"b"}]})",
                  R"({"run_id":"abc","tags":[{"key":"c","value":"d"}]})"));
}

TEST_F(MlflowApiTest, WhatItSaysBecomesACode) {
  const auto error = [](int status, const std::string& code) {
    return HttpText(status, absl::StrCat(R"({"error_code":")", code, R"(","message":"so it is"})"));
  };
  EXPECT_TRUE(absl::IsNotFound(Answered(error(404, "RESOURCE_DOES_NOT_EXIST"))));
  EXPECT_TRUE(absl::IsAlreadyExists(Answered(error(400, "RESOURCE_ALREADY_EXISTS"))));
  EXPECT_TRUE(absl::IsInvalidArgument(Answered(error(400, "INVALID_PARAMETER_VALUE"))));
  EXPECT_TRUE(absl::IsPermissionDenied(Answered(error(403, "PERMISSION_DENIED"))));
  EXPECT_TRUE(absl::IsUnavailable(Answered(error(404, "ENDPOINT_NOT_FOUND"))));
  EXPECT_TRUE(absl::IsUnavailable(Answered(error(500, "INTERNAL_ERROR"))));
  EXPECT_EQ(Message(Answered(error(503, "X"))), "HTTP 503: so it is");
}

TEST_F(MlflowApiTest, HostileAnswersAreShortLinesWithoutTheToken) {
  const absl::Status echo = Answered(
      HttpText(401, absl::StrCat(R"({"message":"who is Bearer )", kToken, R"(?\nnext line"})")));
  EXPECT_TRUE(absl::IsPermissionDenied(echo));
  EXPECT_EQ(Message(echo), "HTTP 401: who is Bearer [key]? next line");
  for (const std::string& answer :
       {HttpText(200, "<html>It works!</html>"), HttpText(200, "[]"), HttpText(200, ""),
        HttpText(200, R"({"experiment_id":7})"), HttpText(200, R"({"experiment_id":"../x"})"),
        HttpText(200, R"({"experiment_id":""})"), HttpText(200, std::string(100000, '[')),
        HttpText(200, "{}", "Content-Encoding: gzip\r\n"), HttpText(302, "", "Location: /x\r\n"),
        HttpText(200, std::string(2 << 20, ' ')), std::string("nonsense\r\n\r\n"), std::string(),
        HttpText(200, "{}").substr(0, 20),
        HttpText(200, absl::StrCat(R"({"experiment_id":")", std::string(300, 'a'), R"("})")),
        HttpText(500, std::string(90000, 'x'))}) {
    const absl::Status status = Answered(answer);
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_LT(Message(status).size(), 400u);
    EXPECT_THAT(Message(status), Not(HasSubstr("\n")));
  }
  for (const char* body : {R"({"experiments":{}})", R"({"experiments":[{"name":"e"}]})"}) {
    test::ScriptedServer server({HttpText(200, body)});
    EXPECT_TRUE(absl::IsUnavailable(Make(server.url())->FindExperiment("e").status())) << body;
  }
  for (const char* body : {R"({"runs":1})", R"({"runs":[3]})", R"({"runs":[{"info":[]}]})"}) {
    test::ScriptedServer server({HttpText(200, body)});
    EXPECT_TRUE(absl::IsUnavailable(Make(server.url())->FindRun("1", "k").status())) << body;
  }
}

TEST_F(MlflowApiTest, ADeletedExperimentIsNoNewOne) {
  test::ScriptedServer server({HttpText(
      200, R"({"experiments":[{"name":"e","experiment_id":"1","lifecycle_stage":"deleted"}]})")});
  const absl::Status status = Make(server.url())->FindExperiment("e").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(Message(status), HasSubstr("'e' is deleted"));
}

TEST_F(MlflowApiTest, AnswersSayHowLongToWait) {
  test::ScriptedServer server({HttpText(429, "{}", "Retry-After: 7\r\n"),
                               HttpText(429, "{}", "Retry-After: 999999\r\n"),
                               HttpText(200, "{}")});
  const auto api = Make(server.url());
  EXPECT_TRUE(absl::IsUnavailable(api->UpdateRun("r", kRunning, 0)));
  EXPECT_EQ(api->retry_after(), Duration(std::chrono::seconds(7)));
  EXPECT_FALSE(api->UpdateRun("r", kRunning, 0).ok());
  EXPECT_EQ(api->retry_after(), Duration(std::chrono::minutes(10)));
  EXPECT_TRUE(api->UpdateRun("r", kRunning, 0).ok());
  EXPECT_FALSE(api->retry_after().has_value());
}

TEST_F(MlflowApiTest, StoppedItWaitsForNobody) {
  boost::asio::io_context context;
  boost::asio::ip::tcp::acceptor acceptor(context, {boost::asio::ip::address_v4::loopback(), 0});
  const auto api = Make(absl::StrCat("http://127.0.0.1:", acceptor.local_endpoint().port()));
  absl::Status status;
  std::jthread caller([&] { status = api->UpdateRun("r", kRunning, 0); });
  const boost::asio::ip::tcp::socket silent = acceptor.accept();
  api->Stop();
  caller.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(absl::IsCancelled(api->UpdateRun("r", kRunning, 0)));
}

TEST_F(MlflowApiTest, NobodyThereIsUnavailable) {
  EXPECT_TRUE(absl::IsUnavailable(Make("http://127.0.0.1:1/")->UpdateRun("r", kRunning, 0)));
}

}  // namespace
}  // namespace llava::training
