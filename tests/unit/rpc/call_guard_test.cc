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
  constexpr std::int64_t kOne = 10 + CallGuard::kBytesOfField;
  const Auth auth;
  CallGuard guard(&auth, {.wire = {}, .max_parsing_bytes = 2 * kOne + 5});
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

TEST(CallGuardTest, AMessageMayTakeAllThereIs) {
  constexpr std::int64_t kOne = 10 + CallGuard::kBytesOfField;
  const Auth auth;
  v1::ChatRequest message;
  for (const std::int64_t room : {kOne, kOne - 1}) {
    CallGuard guard(&auth, {.wire = {}, .max_parsing_bytes = room});
    CallGuard::Share share;
    grpc::ByteBuffer bytes = Bytes("\x0a\x08xxxxxxxx");
    EXPECT_EQ(guard.Parse(&bytes, &message, &share).ok(), room == kOne);
  }
}

TEST(CallGuardTest, ChargesFieldsForWhatTheyBecome) {
  const Auth auth;
  CallGuard guard(&auth, {.wire = {}, .max_parsing_bytes = 1000});
  v1::ChatRequest message;
  CallGuard::Share share;
  const auto parse = [&](int empty_messages) {
    std::string text;
    for (int i = 0; i < empty_messages; ++i) text += std::string("\x12\x00", 2);
    grpc::ByteBuffer bytes = Bytes(text);
    return guard.Parse(&bytes, &message, &share);
  };
  EXPECT_EQ(parse(11).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(parse(10).ok()) << "a refused message holds nothing";
  EXPECT_EQ(message.messages_size(), 10);
}

}  // namespace
}  // namespace llava::rpc
