#include "base/field_error.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/utf8_stream.h"

namespace llava {
namespace {

TEST(FieldErrorTest, RemembersItsFieldBesideTheMessage) {
  const absl::Status status = FieldError("stop[1]", "0 bytes: expected 1 to 256");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "stop[1]: 0 bytes: expected 1 to 256");
  EXPECT_EQ(FieldOf(status), "stop[1]");
}

TEST(FieldErrorTest, AnyErrorMayNameAField) {
  const absl::Status status = WithField(absl::NotFoundError("nobody: no such model"), "model");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "nobody: no such model");
  EXPECT_EQ(FieldOf(status), "model");
  EXPECT_TRUE(WithField(absl::OkStatus(), "model").ok());
  EXPECT_EQ(FieldOf(absl::NotFoundError("x: y")), "");
}

TEST(FieldErrorTest, UnderPutsTheWholeInFront) {
  absl::Status part = FieldError("top_p", "2 is not in [0, 1]");
  part.SetPayload("other", absl::Cord("kept"));
  const absl::Status whole = UnderField("request.sampling.", part);
  EXPECT_EQ(whole.message(), "request.sampling.top_p: 2 is not in [0, 1]");
  EXPECT_EQ(FieldOf(whole), "request.sampling.top_p");
  EXPECT_EQ(whole.GetPayload("other"), absl::Cord("kept"));
  EXPECT_TRUE(UnderField("request.", absl::OkStatus()).ok());
  const absl::Status nameless = absl::UnavailableError("draining: come again");
  EXPECT_EQ(UnderField("request.", nameless), nameless);
}

TEST(ShortenedTest, KeepsTheBeginningAndSaysHowLongItWas) {
  const std::string most(100, 'x');
  EXPECT_EQ(Shortened(most), most);
  EXPECT_EQ(Shortened(std::string(5000, 'x')), absl::StrCat(most, "... (5000 bytes)"));
  const std::string almost(99, 'x');
  EXPECT_EQ(Shortened(absl::StrCat(almost, "\xC3\xA9")), absl::StrCat(almost, "... (101 bytes)"));
  EXPECT_EQ(Shortened("a\xFF"), "a\xEF\xBF\xBD");
}

TEST(MessageOfTest, IsValidUtf8WhateverItQuotes) {
  EXPECT_EQ(MessageOf(absl::NotFoundError("caf\xC3\xA9: no such file")),
            "caf\xC3\xA9: no such file");
  EXPECT_EQ(MessageOf(absl::NotFoundError("a\xFF\xC3: no such file")),
            "a\xEF\xBF\xBD\xEF\xBF\xBD: no such file");
  EXPECT_EQ(FieldOf(FieldError("x\xFF", "is unknown")), "x\xEF\xBF\xBD");
  EXPECT_EQ(MessageOf(absl::OkStatus()), "");
}

TEST(MessageOfTest, IsALineEvenWhereAFileIsQuoted) {
  const std::string most(kMaxMessageBytes, 'x');
  EXPECT_EQ(MessageOf(absl::InternalError(most)), most);
  for (const std::string piece : {"x", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xFF"}) {
    std::string text;
    while (text.size() <= 2 * kMaxMessageBytes) text += piece;
    const std::string message = MessageOf(absl::InternalError(text));
    EXPECT_LE(message.size(), kMaxMessageBytes);
    EXPECT_GT(message.size(), kMaxMessageBytes - 8);
    EXPECT_TRUE(IsValidUtf8(message));
    EXPECT_EQ(message.substr(message.size() - 3), "...");
  }
}

}  // namespace
}  // namespace llava
