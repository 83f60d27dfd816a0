#include "server/scheduling/request_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/field_error.h"

namespace llava::scheduling {
namespace {

using ::testing::HasSubstr;

class CheckRequestTest : public ::testing::Test {
 protected:
  CheckRequestTest() {
    options_.num_blocks = 4;
    options_.max_context_tokens = 100;
    options_.feature_bytes_per_token = 10;
    options_.feature_cache_bytes = 80;
    request_.prompt_ids.assign(20, 7);
  }
  void ExpectInvalid(const char* text) {
    const absl::Status status = CheckRequest(request_, options_);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  void AddImage(int offset, int count) {
    request_.images.emplace_back();
    request_.images.back().offset = offset;
    request_.images.back().count = count;
  }
  SchedulerOptions options_;
  Request request_;
};

TEST_F(CheckRequestTest, Prompt) {
  EXPECT_TRUE(CheckRequest(request_, options_).ok());
  request_.prompt_ids.assign(64, 7);  // 4 blocks hold 64 tokens, and an answer needs one
  ExpectInvalid("the prompt has 64 tokens, expected fewer than 64");
  request_.prompt_ids.clear();
  ExpectInvalid("no tokens");
}

TEST_F(CheckRequestTest, Choices) {
  request_.n = 17;
  ExpectInvalid("n: 17 is not in [1, 16]");
}

TEST_F(CheckRequestTest, ChoicesNeedASeatEach) {
  options_.max_running = 3;
  request_.n = 3;
  EXPECT_TRUE(CheckRequest(request_, options_).ok());
  request_.n = 4;
  ExpectInvalid("n: 4 is not in [1, 3]");
  EXPECT_EQ(FieldOf(CheckRequest(request_, options_)), "n");
}

TEST_F(CheckRequestTest, TheContextIsWhatTheBlocksHoldOrWhatIsConfigured) {
  EXPECT_EQ(ContextTokens(options_), 64);
  options_.num_blocks = 100;
  EXPECT_EQ(ContextTokens(options_), 100);
  request_.prompt_ids.assign(99, 7);
  EXPECT_TRUE(CheckRequest(request_, options_).ok());
  request_.prompt_ids.assign(100, 7);
  ExpectInvalid("the prompt has 100 tokens, expected fewer than 100");
}

TEST_F(CheckRequestTest, TheNumberOfImages) {
  request_.prompt_ids.assign(70, 7);
  options_.num_blocks = 100;
  for (int i = 0; i < 64; ++i) AddImage(i, 1);
  EXPECT_TRUE(CheckRequest(request_, options_).ok());
  AddImage(64, 1);
  ExpectInvalid("the request has 65 images, expected at most 64");
}

TEST_F(CheckRequestTest, AnImageHasATokenAndEndsInThePrompt) {
  AddImage(12, 8);
  EXPECT_TRUE(CheckRequest(request_, options_).ok());
  request_.images[0] = ImageInput();
  request_.images[0].offset = 13;
  request_.images[0].count = 8;
  ExpectInvalid("images[0] covers prompt tokens [13, 21)");
  request_.images[0].count = 0;
  ExpectInvalid("expected at least one of [0, 20)");
}

TEST_F(CheckRequestTest, Images) {
  AddImage(0, 8);
  AddImage(8, 4);
  EXPECT_TRUE(CheckRequest(request_, options_).ok());
  AddImage(11, 2);
  ExpectInvalid("images[2] covers prompt tokens [11, 13)");
  request_.images.pop_back();
  AddImage(15, 6);
  ExpectInvalid("images[2]");
  request_.images.clear();
  AddImage(0, 9);
  ExpectInvalid("takes 90 bytes when encoded, expected at most 80");
}

TEST_F(CheckRequestTest, WhatAClientSaysWasDecidedBefore) {
  request_.sampling.top_p = 2;
  EXPECT_DEATH(CheckRequest(request_, options_).IgnoreError(), "Validate");
  request_.sampling = {};
  request_.n = 0;
  EXPECT_DEATH(CheckRequest(request_, options_).IgnoreError(), "request.n");
}

}  // namespace
}  // namespace llava::scheduling
