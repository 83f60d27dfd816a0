#include "server/api/http/feedback_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <boost/asio/io_context.hpp>
#include <boost/json/parse.hpp>
#include <memory>
#include <string>

#include "base/clock.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/server/api/http/fake_exchange.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;
using ::testing::HasSubstr;

class FeedbackRoutesTest : public ::testing::Test {
 protected:
  FeedbackRoutesTest() : metrics_(&registry_) {}

  void Start() {
    recorder_ = capture::Recorder::Open({.store = {.dir = dir_.path() + "/capture"},
                                         .agreed = {.texts = {"ann"}, .pictures = {"bob"}}},
                                        &clock_, &metrics_)
                    .value();
    capture::Row row = test::CapturedRow("ann", "r1");
    row.said.pop_back();
    auto turn = recorder_->Hold(std::move(row), "Because.");
    recorder_->Record(std::move(turn));
  }

  // The answer's status; its body is body_.
  unsigned Ask(http::verb method, const std::string& target, const std::string& body = "",
               const std::string& tenant = "ann") {
    HttpRouter router(&auth_);
    AddFeedbackRoutes(recorder_.get(), &router);
    boost::asio::io_context io;
    FakeExchange exchange(&io, method, target);
    exchange.set_caller({.name = tenant, .may_name_tenants = false});
    exchange.request().body() = body;
    Answer(router, &io, &exchange);
    body_ = exchange.body;
    return exchange.status;
  }

  const test::TempDir dir_;
  const RealClock clock_;
  const rpc::Auth auth_;
  prometheus::Registry registry_;
  observe::Metrics metrics_;
  std::unique_ptr<capture::Recorder> recorder_;
  std::string body_;
};

TEST_F(FeedbackRoutesTest, OffTheySaySo) {
  EXPECT_EQ(Ask(http::verb::post, "/v1/feedback", R"({"id": "r1", "verdict": "up"})"), 404u);
  EXPECT_THAT(body_, HasSubstr("capture_dir"));
  EXPECT_EQ(Ask(http::verb::get, "/v1/feedback"), 200u);
  EXPECT_FALSE(json::parse(body_).at("texts").as_bool());
  EXPECT_EQ(Ask(http::verb::delete_, "/v1/feedback/r1"), 404u);
}

TEST_F(FeedbackRoutesTest, AVerdictIsGivenAndTakenBack) {
  Start();
  EXPECT_EQ(Ask(http::verb::post, "/v1/feedback", R"({"id": "chatcmpl-r1", "verdict": "down",
      "correction": "Therefore."})"),
            200u)
      << body_;
  EXPECT_EQ(json::parse(body_).at("verdict").as_string(), "down");
  EXPECT_EQ(json::parse(body_).at("id").as_string(), "chatcmpl-r1");
  EXPECT_EQ(Ask(http::verb::post, "/v1/feedback", R"({"id": "r1", "verdict": "none"})"), 200u);
  EXPECT_EQ(Ask(http::verb::post, "/v1/feedback", R"({"id": "r2", "verdict": "up"})"), 404u);
  EXPECT_THAT(body_, HasSubstr("'r2'"));
}

TEST_F(FeedbackRoutesTest, WhatIsWrongIsNamed) {
  Start();
  for (const auto& [body, param] :
       {std::pair(R"({"verdict": "up"})", "id"),
        {R"({"id": 1, "verdict": "up"})", "id"},
        {R"({"id": "r1"})", "verdict"},
        {R"({"id": "r1", "verdict": "maybe"})", "verdict"},
        {R"({"id": "r1", "verdict": "up", "correction": 3})", "correction"},
        {R"({"id": "r1", "verdict": "up", "correction": "<image>"})", "correction"},
        {R"({"id": "r1", "verdict": "up", "why": "x"})", "why"}}) {
    EXPECT_EQ(Ask(http::verb::post, "/v1/feedback", body), 400u) << body;
    EXPECT_EQ(json::parse(body_).at("error").at("param").as_string(), param) << body_;
  }
}

TEST_F(FeedbackRoutesTest, EveryTenantSeesItsTerms) {
  Start();
  EXPECT_EQ(Ask(http::verb::get, "/v1/feedback"), 200u);
  EXPECT_TRUE(json::parse(body_).at("texts").as_bool());
  EXPECT_FALSE(json::parse(body_).at("pictures").as_bool());
  EXPECT_EQ(Ask(http::verb::get, "/v1/feedback", "", "bob"), 200u);
  EXPECT_TRUE(json::parse(body_).at("pictures").as_bool());
}

TEST_F(FeedbackRoutesTest, AConversationIsForgottenByItsTenantAlone) {
  Start();
  EXPECT_EQ(Ask(http::verb::delete_, "/v1/feedback/r1", "", "bob"), 404u);
  EXPECT_EQ(Ask(http::verb::delete_, "/v1/feedback/chatcmpl-r1"), 200u) << body_;
  EXPECT_EQ(json::parse(body_).at("rows_deleted").to_number<int>(), 1);
  EXPECT_TRUE(json::parse(body_).at("versions").as_array().empty());
  EXPECT_EQ(Ask(http::verb::delete_, "/v1/feedback/r1"), 404u);
}

}  // namespace
}  // namespace llava::api
