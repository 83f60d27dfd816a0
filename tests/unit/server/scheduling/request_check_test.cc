#include "server/scheduling/request_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

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
  ExpectInvalid("n is 17, expected 1 to 16");
}

TEST_F(CheckRequestTest, Tenant) {
  request_.tenant.assign(300, 'x');
  ExpectInvalid("300 bytes");
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

TEST_F(CheckRequestTest, Sampling) {
  request_.sampling.top_p = 2;
  ExpectInvalid("top_p");
}

}  // namespace
}  // namespace llava::scheduling
