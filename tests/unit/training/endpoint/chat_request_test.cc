#include "training/endpoint/chat_request.h"

#include "base/durable_file.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

TEST(ChatRequest, EqualQuestionsHaveEqualKeysAndOthersHaveOthers) {
  ChatRequest request;
  request.messages = {{"system", {}, "Judge."}, {"user", {}, "Which?"}};
  const std::string body = *RequestBody("gpt-4", request);
  EXPECT_EQ(body, *RequestBody("gpt-4", request));
  EXPECT_NE(RequestKey(body), RequestKey(*RequestBody("gpt-5", request)));
  request.seed = 1;
  EXPECT_NE(RequestKey(body), RequestKey(*RequestBody("gpt-4", request)));
  EXPECT_EQ(*RequestBody("m", {.messages = {{"user", {}, "Hi"}}, .max_tokens = 5}),
            R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"temperature":0E0,)"
            R"("max_tokens":5})");
}

TEST(ChatRequest, OfGivenAnswersNothingIsSampled) {
  ChatRequest request;
  request.messages = {{"user", {}, "Which?"}};
  EXPECT_EQ(RequestPath(request), "/chat/completions");
  request.choices = {"A", "B"};
  EXPECT_EQ(RequestPath(request), "/score");
  EXPECT_EQ(*RequestBody("m", request),
            R"({"model":"m","messages":[{"role":"user","content":"Which?"}],"choices":["A","B"]})");
}

TEST(ChatRequest, PicturesComeBeforeTheText) {
  const test::TempDir dir;
  const std::string picture = dir.path() + "/a.png";
  ASSERT_TRUE(WriteFile(picture, "\x89PNG").ok());
  ChatRequest request;
  request.messages = {{"user", {picture}, "What?"}};
  EXPECT_EQ(*RequestBody("m", request),
            R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url",)"
            R"("image_url":{"url":"data:image/png;base64,iVBORw=="}},{"type":"text",)"
            R"("text":"What?"}]}],"temperature":0E0,"max_tokens":1024})");
  EXPECT_GT(MostPromptTokens(request), 576);
  ASSERT_TRUE(WriteFile(picture, "text").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(RequestBody("m", request).status()));
  request.messages[0].images = {dir.path() + "/none"};
  EXPECT_TRUE(absl::IsNotFound(RequestBody("m", request).status()));
}

}  // namespace
}  // namespace llava::training
