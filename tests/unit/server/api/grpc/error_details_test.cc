#include "server/api/grpc/error_details.h"

#include <gmock/gmock.h>
#include <google/protobuf/duration.pb.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/field_error.h"
#include "server/scheduling/admission.h"

namespace llava::api {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ErrorDetailsTest, TheFieldOfAnErrorIsABadRequest) {
  const grpc::Status status = ToGrpcStatus(FieldError("sampling.top_p", "2 is not in [0, 1]"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "sampling.top_p: 2 is not in [0, 1]");
  EXPECT_THAT(status.error_details(), HasSubstr("google.rpc.BadRequest"));
  // FieldViolation.field, with its length in front, apart from the message.
  EXPECT_THAT(status.error_details(), HasSubstr("\x0a\x0esampling.top_p\x12"));
  EXPECT_THAT(status.error_details(), Not(HasSubstr("RetryInfo")));
}

TEST(ErrorDetailsTest, AFieldIsNeverReadFromAMessage) {
  const grpc::Status status = ToGrpcStatus(absl::InvalidArgumentError("messages: too many"));
  EXPECT_EQ(status.error_message(), "messages: too many");
  EXPECT_EQ(status.error_details(), "");
}

TEST(ErrorDetailsTest, WhatAnErrorQuotesIsMadeValidUtf8) {
  const grpc::Status status = ToGrpcStatus(FieldError("x\xFF", "is '\xC3'"));
  EXPECT_EQ(status.error_message(), "x\xEF\xBF\xBD: is '\xEF\xBF\xBD'");
  EXPECT_THAT(status.error_details(), HasSubstr("x\xEF\xBF\xBD"));
  EXPECT_THAT(status.error_details(), Not(HasSubstr("\xC3'")));
}

TEST(ErrorDetailsTest, ARefusalMaySayWhenToComeAgain) {
  const grpc::Status status = ToGrpcStatus(scheduling::WithRetryAfter(
      absl::ResourceExhaustedError("full"), std::chrono::milliseconds(1500)));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_details(), HasSubstr("google.rpc.RetryInfo"));
  google::protobuf::Duration delay;
  delay.set_seconds(1);
  delay.set_nanos(500'000'000);
  EXPECT_THAT(status.error_details(), HasSubstr(delay.SerializeAsString()));
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

}  // namespace
}  // namespace llava::api
