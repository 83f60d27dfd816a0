#include "rpc/wire_check.h"

#include <gmock/gmock.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "llava/v1/chat.pb.h"

namespace llava::rpc {
namespace {

using ::testing::HasSubstr;
using v1::ChatRequest;

absl::Status Check(const std::string& bytes, const WireLimits& limits = {}) {
  // Pieces of 7 bytes: nothing may depend on where gRPC's slices end.
  google::protobuf::io::ArrayInputStream in(bytes.data(), static_cast<int>(bytes.size()), 7);
  return CheckWire(&in, *ChatRequest::descriptor(), limits).status();
}

std::string Repeat(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// A field of wire type 2.
std::string Field(int number, const std::string& value) {
  std::string text(1, static_cast<char>((number << 3) | 2));
  std::size_t size = value.size();
  for (; size > 127; size >>= 7) text.push_back(static_cast<char>((size & 127) | 128));
  text.push_back(static_cast<char>(size));
  return text + value;
}

TEST(WireCheckTest, TakesWhatIsSerialized) {
  ChatRequest request;
  request.set_model("m");
  for (int i = 0; i < 20; ++i) {
    auto* message = request.add_messages();
    message->add_parts()->set_text(std::string(1000, 'x'));
    message->add_parts()->set_image(std::string(70000, '\x12'));
  }
  for (int i = 0; i < 1000; ++i) (*request.mutable_sampling()->mutable_logit_bias())[i] = 0.5;
  for (int i = 0; i < 1000; ++i) request.mutable_sampling()->add_stop_token_ids(i);
  EXPECT_TRUE(Check(request.SerializeAsString()).ok());
  EXPECT_TRUE(Check("").ok());
}

TEST(WireCheckTest, CountsAllThatBecomesAnObject) {
  const WireLimits limits{.max_fields = 1000};
  const std::string empty_message = Field(2, "");
  EXPECT_TRUE(Check(Repeat(empty_message, 1000), limits).ok());
  const auto refused = [&](const std::string& bytes) {
    const absl::Status status = Check(bytes, limits);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refused(Repeat(empty_message, 1001)), HasSubstr("more than 1000 fields"));
  // Parts of one message, and fields that nobody knows.
  EXPECT_THAT(refused(Field(2, Repeat(Field(2, ""), 1001))), HasSubstr("fields"));
  EXPECT_THAT(refused(Repeat(Field(14, ""), 1001)), HasSubstr("fields"));
  EXPECT_THAT(refused(Repeat(Field(2, Field(14, "")), 501)), HasSubstr("fields"));
  // Stop tokens, packed; biases, three fields each.
  EXPECT_THAT(refused(Field(3, Field(14, std::string(1000, 1)))), HasSubstr("fields"));
  EXPECT_THAT(refused(Field(3, Repeat(Field(8, std::string("\x08\x01\x11", 3) + "12345678"), 334))),
              HasSubstr("fields"));
  // Bytes are no fields.
  EXPECT_TRUE(Check(Field(1, std::string(5000, '\x12')), limits).ok());
}

TEST(WireCheckTest, RefusesWhatIsNoMessage) {
  for (const std::string& wrong :
       {std::string("\x12"), std::string("\x12\x05x"), std::string("\x0a\xff\xff\xff\xff\x0f"),
        std::string("\xff\xff\xff\xff\xff\xff"), Field(2, std::string("\x12\x7f", 2)),
        std::string("\x13"), std::string("\x14"), std::string("\0", 1)}) {
    EXPECT_THAT(std::string(Check(wrong).message()), HasSubstr("cannot be read"))
        << ::testing::PrintToString(wrong);
  }
}

TEST(WireCheckTest, AMessageMayNotClaimMoreThanWhatHoldsIt) {
  // A message of 3 bytes whose part claims 100, and 200 bytes behind it.
  EXPECT_FALSE(Check(Field(2, std::string("\x12\x64x", 3)) + std::string(200, 'x')).ok());
}

TEST(WireCheckTest, BoundsTheDepth) {
  const WireLimits flat{.max_depth = 1};
  EXPECT_TRUE(Check(Field(2, Field(1, "x")), flat).ok());
  EXPECT_THAT(std::string(Check(Field(2, Field(2, "")), flat).message()),
              HasSubstr("expected at most 1"));
}

}  // namespace
}  // namespace llava::rpc
