#include "rpc/call_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "llava/v1/chat.pb.h"

namespace llava::rpc {
namespace {

grpc::ByteBuffer Bytes(const std::string& text) {
  grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

TEST(CallGuardTest, ParsesAndFreesTheBytes) {
  const Auth auth;
  CallGuard guard(&auth);
  v1::ChatRequest sent;
  sent.set_model("m");
  grpc::ByteBuffer bytes = ToBytes(sent);
  v1::ChatRequest read;
  CallGuard::Share share;
  ASSERT_TRUE(guard.Parse(&bytes, &read, &share).ok());
  EXPECT_EQ(read.model(), "m");
  EXPECT_EQ(bytes.Length(), 0u);
  bytes = Bytes("\x0a\x01\xff");  // no UTF-8
  EXPECT_EQ(guard.Parse(&bytes, &read, &share).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(bytes.Length(), 0u);
}

TEST(CallGuardTest, BoundsWhatIsParsedAtATime) {
  const Auth auth;
  CallGuard guard(&auth, {.wire = {}, .max_parsing_bytes = 25});
  v1::ChatRequest message;
  std::optional<CallGuard::Share> first, second, third;
  const auto parse = [&](std::optional<CallGuard::Share>* share) {
    grpc::ByteBuffer bytes = Bytes("\x0a\x08xxxxxxxx");
    return guard.Parse(&bytes, &message, &share->emplace());
  };
  EXPECT_TRUE(parse(&first).ok());
  EXPECT_TRUE(parse(&second).ok());
  EXPECT_EQ(parse(&third).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(parse(&third).code(), absl::StatusCode::kResourceExhausted);
  first.reset();
  EXPECT_TRUE(parse(&third).ok());
}

}  // namespace
}  // namespace llava::rpc
