#include "server/chat/chat_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "base/field_error.h"
#include "base/file.h"

namespace llava::api {
namespace {

using ::testing::HasSubstr;

ChatCall Hello() {
  ChatCall call;
  call.tenant = "alice";
  call.field_prefix = "request.";
  call.sampling_field = "sampling.";
  call.messages = {{model::Role::kUser, {std::string("Hello")}}};
  return call;
}

void ExpectWrong(const ChatCall& call, const std::string& field, const std::string& why) {
  const auto weight = CheckCall(call, {.max_text_bytes = 100});
  EXPECT_TRUE(absl::IsInvalidArgument(weight.status())) << field;
  EXPECT_EQ(FieldOf(weight.status()), field);
  EXPECT_THAT(std::string(weight.status().message()), HasSubstr(why));
}

TEST(CheckCallTest, WeighsTheTextAndThePicturesHeaders) {
  ChatCall call = Hello();
  const auto text = CheckCall(call, {});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->bytes, 5);
  EXPECT_EQ(text->pixels, 0);
  const auto read = ReadFile("tests/golden/data/images/landscape.png", 1 << 20);
  ASSERT_TRUE(read.ok()) << read.status();
  const std::string& picture = *read;
  call.images.push_back({.bytes = picture, .field = "request.messages[0].parts[1].image"});
  const auto both = CheckCall(call, {});
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(both->bytes, 5 + static_cast<std::int64_t>(picture.size()));
  EXPECT_GT(both->pixels, 0);
}

// The path that a refusal names; empty when the call is accepted.
std::string Refused(const ChatCall& call, const CallLimits& limits) {
  const auto weight = CheckCall(call, limits);
  EXPECT_TRUE(weight.ok() || absl::IsInvalidArgument(weight.status())) << weight.status();
  return weight.ok() ? "" : FieldOf(weight.status());
}

TEST(CheckCallTest, AFormSaysItselfWhenTheAnswerEnds) {
  ChatCall call = Hello();
  call.format = model::AnswerFormat{.field = "request.format.json_object"};
  EXPECT_TRUE(CheckCall(call, {}).ok());
  call.sampling.min_tokens = 1;
  ExpectWrong(call, "request.sampling.min_tokens",
              "cannot be used with request.format.json_object");
  call.sampling.min_tokens = 0;
  call.sampling.ignore_eos = true;
  ExpectWrong(call, "request.sampling.ignore_eos", "which says itself when the answer ends");
}

TEST(CheckCallTest, TheMostOfEachThingIsAllowedAndNotOneMore) {
  const auto most = [](int messages, std::int64_t text_bytes, int n) {
    CallLimits limits;
    limits.max_messages = messages;
    limits.max_text_bytes = text_bytes;
    limits.max_n = n;
    return limits;
  };
  ChatCall call = Hello();
  call.messages.push_back({model::Role::kAssistant, {std::string("Hi")}});
  call.n = 3;
  EXPECT_EQ(Refused(call, most(2, 7, 3)), "");
  EXPECT_EQ(Refused(call, most(1, 7, 3)), "request.messages");
  EXPECT_EQ(Refused(call, most(2, 6, 3)), "request.messages");
  EXPECT_EQ(Refused(call, most(2, 7, 2)), "request.n");
  call.n = 0;
  EXPECT_EQ(Refused(call, {}), "request.n");
}

// A PNG file of 3 x 2 pixels, as far as its header; its check sum is right.
const std::string kPicture(
    "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x03\0\0\0\x02\x08\x02\0\0\0\x12\x16\xf1\x4d", 33);

TEST(CheckCallTest, EachPictureCountsWithItsBytesAndPixels) {
  const auto most = [](int images, std::int64_t bytes, std::int64_t pixels) {
    CallLimits limits;
    limits.max_images = images;
    limits.max_image_bytes = bytes;
    limits.max_image_pixels = pixels;
    return limits;
  };
  ChatCall call = Hello();
  call.images = {{kPicture, "one"}, {kPicture, "two"}};
  const auto weight = CheckCall(call, most(2, 33, 6));
  ASSERT_TRUE(weight.ok()) << weight.status();
  EXPECT_EQ(weight->pixels, 12);
  EXPECT_EQ(weight->bytes, 5 + 2 * 33);
  EXPECT_EQ(Refused(call, most(1, 33, 6)), "request.messages");
  EXPECT_EQ(Refused(call, most(2, 32, 6)), "one");
  EXPECT_EQ(Refused(call, most(2, 33, 5)), "one");
  call.images[1].bytes = "no picture";
  EXPECT_EQ(Refused(call, {}), "two");
}

TEST(CheckCallTest, TheFirstWrongFieldIsNamedByItsPath) {
  ChatCall call = Hello();
  call.n = 99;
  ExpectWrong(call, "request.n", "99 is not in [1, 8]");
  call = Hello();
  call.messages.clear();
  ExpectWrong(call, "request.messages", "at least one");
  call = Hello();
  call.messages[0].parts = {std::string(101, 'x')};
  ExpectWrong(call, "request.messages", "101 bytes of text, expected at most 100");
  call = Hello();
  call.sampling.top_p = 2;
  ExpectWrong(call, "request.sampling.top_p", "2");
  call = Hello();
  call.images.push_back({.bytes = "text", .field = "request.messages[0].parts[1].image"});
  ExpectWrong(call, "request.messages[0].parts[1].image", "text");
}

// It may be a secret: its value is not repeated.
TEST(CheckCallTest, ACacheSaltIsShortText) {
  ChatCall call = Hello();
  call.cache_salt = std::string(kMaxCacheSaltBytes, 's');
  EXPECT_TRUE(CheckCall(call, {}).ok());
  call.cache_salt += 's';
  ExpectWrong(call, "request.cache_salt", "has 257 bytes, expected at most 256");
  call.cache_salt = "\xff";
  ExpectWrong(call, "request.cache_salt", "UTF-8");
}

TEST(CheckTokenIdsTest, AnIdBeyondTheVocabularyIsNamed) {
  ChatCall call = Hello();
  call.sampling.stop_token_ids = {5, 10};
  EXPECT_TRUE(CheckTokenIds(call, 11).ok());
  EXPECT_EQ(FieldOf(CheckTokenIds(call, 10)), "request.sampling.stop_token_ids[1]");
  call.sampling.logit_bias = {{12, 1.0}};
  EXPECT_EQ(FieldOf(CheckTokenIds(call, 11)), "request.sampling.logit_bias[12]");
}

}  // namespace
}  // namespace llava::api
