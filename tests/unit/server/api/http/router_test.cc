#include "server/api/http/router.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/field_error.h"
#include "base/utf8_stream.h"
#include "server/scheduling/admission.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;

HttpRequest Request(http::verb method, const std::string& target, const std::string& token = "") {
  HttpRequest request(method, target, 11);
  if (!token.empty()) request.set(http::field::authorization, "Bearer " + token);
  return request;
}

class RouterTest : public ::testing::Test {
 protected:
  RouterTest()
      : auth_(*rpc::Auth::FromText(absl::StrCat("alice chat sha256:", Sha256Of("a").Hex(),
                                                "\nroot admin sha256:", Sha256Of("r").Hex(), "\n"),
                                   "tokens")),
        router_(&auth_) {
    router_.Add({http::verb::get, "/open", std::nullopt, nullptr});
    router_.Add({http::verb::get, "/v1/models", rpc::Role::kChat, nullptr});
    router_.Add({http::verb::get, "/v1/models/{model*}", rpc::Role::kChat, nullptr});
    router_.Add({http::verb::get, "/files/{id}", rpc::Role::kChat, nullptr});
    router_.Add({http::verb::get, "/files/{id}/content", rpc::Role::kChat, nullptr});
    router_.Add({http::verb::post, "/both", rpc::Role::kChat, nullptr});
    router_.Add({http::verb::get, "/both", rpc::Role::kAdmin, nullptr});
    router_.Add({http::verb::post, "/chat", std::nullopt, nullptr});
  }

  // The path of the route that is found; otherwise nothing, and refusal_ says why.
  std::string Found(const HttpRequest& request) {
    caller_ = {};
    const HttpRoute* route = router_.Find(request, &caller_, &refusal_);
    return route == nullptr ? "" : route->path;
  }
  int Refusal(const HttpRequest& request) {
    EXPECT_EQ(Found(request), "");
    return static_cast<int>(refusal_.result_int());
  }

  const rpc::Auth auth_;
  HttpRouter router_;
  rpc::Caller caller_;
  HttpResponse refusal_;
};

TEST_F(RouterTest, PathsWithoutQueryAndDecoded) {
  EXPECT_EQ(Found(Request(http::verb::get, "/open?x=1")), "/open");
  EXPECT_EQ(Found(Request(http::verb::get, "/%6fpen")), "/open");
  EXPECT_EQ(Found(Request(http::verb::get, "http://a.example:80/open?x")), "/open");
  EXPECT_EQ(Found(Request(http::verb::head, "/open")), "/open");
  EXPECT_EQ(caller_.name, "");
}

TEST_F(RouterTest, APathMayHaveAName) {
  EXPECT_EQ(Found(Request(http::verb::get, "/v1/models", "a")), "/v1/models");
  for (const char* path : {"/v1/models/m", "/v1/models/org/m", "/v1/models/m@abcd"}) {
    EXPECT_EQ(Found(Request(http::verb::get, path, "a")), "/v1/models/{model*}") << path;
  }
  EXPECT_EQ(Refusal(Request(http::verb::get, "/v1/models/", "a")), 404);
}

TEST_F(RouterTest, OtherVariablesHaveNoSlash) {
  EXPECT_EQ(Found(Request(http::verb::get, "/files/a", "a")), "/files/{id}");
  EXPECT_EQ(Found(Request(http::verb::get, "/files/a/content", "a")), "/files/{id}/content");
  for (const char* path : {"/files/", "/files/a/b", "/files//content", "/files/a/b/content"}) {
    EXPECT_EQ(Refusal(Request(http::verb::get, path, "a")), 404) << path;
  }
}

TEST_F(RouterTest, WhoMayAsk) {
  EXPECT_EQ(Found(Request(http::verb::post, "/both", "a")), "/both");
  EXPECT_EQ(caller_.name, "alice");
  EXPECT_EQ(Refusal(Request(http::verb::post, "/both")), 401);
  EXPECT_EQ(refusal_[http::field::www_authenticate], "Bearer");
  EXPECT_EQ(Refusal(Request(http::verb::post, "/both", "guess")), 401);
  EXPECT_EQ(Refusal(Request(http::verb::get, "/both", "a")), 403);
  EXPECT_EQ(caller_.name, "");
}

TEST_F(RouterTest, UnknownPathsAndMethods) {
  EXPECT_EQ(Refusal(Request(http::verb::get, "/nothing")), 404);
  EXPECT_EQ(Refusal(Request(http::verb::options, "*")), 404);
  EXPECT_EQ(Refusal(Request(http::verb::put, "/both", "a")), 405);
  EXPECT_EQ(refusal_[http::field::allow], "POST, GET");
  EXPECT_EQ(Refusal(Request(http::verb::head, "/chat")), 405);  // HEAD is GET without the body
}

TEST_F(RouterTest, ErrorsAreUtf8WhateverTheyQuote) {
  EXPECT_EQ(Refusal(Request(http::verb::get, "/\xff\xfe")), 404);
  EXPECT_TRUE(IsValidUtf8(refusal_.body()));
  const HttpResponse response = ErrorResponse(FieldError("\xff", "x\xc3"));
  EXPECT_TRUE(IsValidUtf8(response.body()));
}

TEST(ErrorResponseTest, CodeTypeAndField) {
  const HttpResponse response = ErrorResponse(FieldError("top_p", "2 is not in [0, 1]"));
  EXPECT_EQ(response.result(), http::status::bad_request);
  const auto error = boost::json::parse(response.body()).at("error");
  EXPECT_EQ(error.at("message").as_string(), "top_p: 2 is not in [0, 1]");
  EXPECT_EQ(error.at("type").as_string(), "invalid_request_error");
  EXPECT_EQ(error.at("param").as_string(), "top_p");
  EXPECT_EQ(error.at("code").as_string(), "invalid_argument");
}

TEST(ErrorResponseTest, TheTypeSaysWhoseFaultItIs) {
  const auto type = [](absl::StatusCode code) {
    const auto error = boost::json::parse(ErrorResponse(absl::Status(code, "x")).body());
    return std::string(error.at("error").at("type").as_string());
  };
  EXPECT_EQ(type(absl::StatusCode::kCancelled), "invalid_request_error");  // 499
  EXPECT_EQ(type(absl::StatusCode::kInternal), "server_error");            // 500
  EXPECT_EQ(type(absl::StatusCode::kNotFound), "not_found_error");
  EXPECT_EQ(type(absl::StatusCode::kResourceExhausted), "rate_limit_error");
}

TEST(ErrorResponseTest, TellsWhenToComeAgain) {
  const HttpResponse response = ErrorResponse(scheduling::WithRetryAfter(
      absl::ResourceExhaustedError("full"), std::chrono::milliseconds(1200)));
  EXPECT_EQ(response.result(), http::status::too_many_requests);
  EXPECT_EQ(response[http::field::retry_after], "2");
  EXPECT_TRUE(boost::json::parse(response.body()).at("error").at("param").is_null());
}

TEST(ErrorResponseTest, EveryCodeHasAStatus) {
  const std::pair<absl::StatusCode, int> codes[] = {
      {absl::StatusCode::kInvalidArgument, 400},   {absl::StatusCode::kUnauthenticated, 401},
      {absl::StatusCode::kPermissionDenied, 403},  {absl::StatusCode::kNotFound, 404},
      {absl::StatusCode::kResourceExhausted, 429}, {absl::StatusCode::kCancelled, 499},
      {absl::StatusCode::kInternal, 500},          {absl::StatusCode::kUnimplemented, 501},
      {absl::StatusCode::kUnavailable, 503},       {absl::StatusCode::kFailedPrecondition, 503},
      {absl::StatusCode::kDeadlineExceeded, 504},
  };
  for (const auto& [code, status] : codes) {
    EXPECT_EQ(static_cast<int>(ErrorResponse(absl::Status(code, "x")).result()), status);
  }
}

}  // namespace
}  // namespace llava::api
