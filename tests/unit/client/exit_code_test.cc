#include "client/exit_code.h"

#include <gtest/gtest.h>

namespace llava::client {
namespace {

int CodeOf(grpc::StatusCode code) { return ExitCodeOf(grpc::Status(code, "")); }

TEST(ExitCodeTest, SaysWhoIsToBlame) {
  EXPECT_EQ(CodeOf(grpc::OK), kOk);
  for (const grpc::StatusCode code :
       {grpc::INVALID_ARGUMENT, grpc::NOT_FOUND, grpc::ALREADY_EXISTS, grpc::FAILED_PRECONDITION}) {
    EXPECT_EQ(CodeOf(code), kRequestError) << code;
  }
  for (const grpc::StatusCode code : {grpc::INTERNAL, grpc::RESOURCE_EXHAUSTED, grpc::DATA_LOSS}) {
    EXPECT_EQ(CodeOf(code), kServerError) << code;
  }
  EXPECT_EQ(CodeOf(grpc::UNAVAILABLE), kNetworkError);
}

}  // namespace
}  // namespace llava::client
