#include "client/batch/openai_row.h"

#include <boost/json/parse.hpp>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<v1::ChatRequest> Filled(const std::string& row, const std::string& folder = "") {
  const boost::json::value value = boost::json::parse(row);
  v1::ChatRequest request;
  const absl::Status status = FillFromOpenAi(value.as_object(), folder, &request);
  if (!status.ok()) return status;
  return request;
}

std::string ErrorOfBody(const std::string& body) {
  const auto request = Filled(R"({"custom_id": "a", "body": )" + body + "}");
  return std::string(request.status().message());
}

TEST(OpenAiRowTest, ABodyIsARequest) {
  test::TempDir dir;
  std::ofstream(dir.path() + "/x.png") << "PNG";
  const auto request = Filled(
      R"({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {
        "model": "llava", "max_tokens": 9, "temperature": 0.5, "seed": 3, "top_p": 0.9, "n": 1,
        "stop": ["END"], "stream": false, "presence_penalty": null,
        "messages": [{"role": "system", "content": "Be brief."},
                     {"role": "user", "content": [
                       {"type": "image_url", "image_url": {"url": "data:image/png;base64,UE5H"}},
                       {"type": "image_url", "image_url": "x.png"},
                       {"type": "text", "text": "Which?"}]}]}})",
      dir.path());
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->model(), "llava");
  EXPECT_EQ(request->sampling().max_tokens(), 9);
  EXPECT_EQ(request->sampling().temperature(), 0.5);
  EXPECT_EQ(request->sampling().seed(), 3u);
  EXPECT_EQ(request->sampling().top_p(), 0.9);
  EXPECT_FALSE(request->sampling().has_presence_penalty());
  EXPECT_THAT(request->sampling().stop(), ElementsAre("END"));
  ASSERT_EQ(request->messages_size(), 2);
  EXPECT_EQ(request->messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(request->messages(1).parts(0).image(), "PNG");
  EXPECT_EQ(request->messages(1).parts(1).image(), "PNG");
  EXPECT_EQ(request->messages(1).parts(2).text(), "Which?");
}

TEST(OpenAiRowTest, WhatIsWrongIsNamed) {
  EXPECT_THAT(ErrorOfBody(R"({})"), HasSubstr("no messages"));
  EXPECT_THAT(ErrorOfBody(R"({"messages": 1})"), HasSubstr("\"messages\" is 1"));
  EXPECT_THAT(ErrorOfBody(R"({"messages": [{"role": "tool"}]})"),
              HasSubstr("\"role\" is \"tool\""));
  EXPECT_THAT(ErrorOfBody(R"({"n": 2})"), HasSubstr("\"n\" is 2"));
  EXPECT_THAT(ErrorOfBody(R"({"stream": true})"), HasSubstr("\"stream\" is true"));
  EXPECT_THAT(ErrorOfBody(R"({"max_tokens": "x"})"), HasSubstr("\"max_tokens\" is \"x\""));
  EXPECT_THAT(ErrorOfBody(R"({"logit_bias": {}})"), HasSubstr("\"logit_bias\" is {}"));
  EXPECT_THAT(ErrorOfBody(R"({"magic": 1})"), HasSubstr("\"magic\" is not known"));
  const auto with_url = [](const std::string& url) {
    return ErrorOfBody(R"({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": ")" +
                       url + R"("}}]}]})");
  };
  EXPECT_THAT(with_url("https://there/x.png"), HasSubstr("https://there/x.png"));
  EXPECT_THAT(with_url("data:image/png,abc"), HasSubstr("base64"));
  EXPECT_THAT(with_url("data:image/png;base64,?"), HasSubstr("base64"));
  EXPECT_THAT(ErrorOfBody(R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})"),
              HasSubstr("a text in the part"));
  EXPECT_THAT(std::string(Filled(R"({"custom_id": 1, "url": "/v1/x"})").status().message()),
              HasSubstr("/v1/chat/completions"));
}

}  // namespace
}  // namespace llava::client
