#include "server/api/openai/multipart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace llava::api {
namespace {

using ::testing::HasSubstr;

const std::string kType = "multipart/form-data; boundary=b";

std::string Part(const std::string& headers, const std::string& content) {
  return absl::StrCat("--b\r\n", headers, "\r\n\r\n", content, "\r\n");
}

std::string Named(const std::string& name, const std::string& content) {
  return Part(absl::StrCat("Content-Disposition: form-data; name=\"", name, "\""), content);
}

// The parts as "name=content", or the error alone.
std::vector<std::string> Parts(const std::string& type, const std::string& body) {
  const auto parts = ParseForm(type, body);
  if (!parts.ok()) return {std::string(parts.status().message())};
  std::vector<std::string> texts;
  for (const FormPart& part : *parts) texts.push_back(absl::StrCat(part.name, "=", part.content));
  return texts;
}

std::string ErrorOf(const std::string& type, const std::string& body) {
  const auto parts = ParseForm(type, body);
  EXPECT_TRUE(absl::IsInvalidArgument(parts.status())) << parts.status();
  return std::string(parts.status().message());
}

TEST(MultipartTest, AFormIsKnownByItsType) {
  EXPECT_TRUE(IsForm("multipart/form-data"));
  EXPECT_TRUE(IsForm(" Multipart/Form-Data ; boundary=x"));
  EXPECT_FALSE(IsForm("multipart/mixed; boundary=x"));
  EXPECT_FALSE(IsForm("application/json; also=multipart/form-data"));
  EXPECT_FALSE(IsForm(""));
}

TEST(MultipartTest, PartsComeInTheirOrderWithTheirBytes) {
  const std::string bytes("\0\r\n-- b\xff", 8);
  EXPECT_EQ(Parts(kType, Named("one", bytes) + Named("two", "") + "--b--\r\n"),
            (std::vector<std::string>{"one=" + bytes, "two="}));
  EXPECT_EQ(Parts(kType, "--b--"), std::vector<std::string>{});
}

TEST(MultipartTest, OtherHeadersOfAPartAreNotLookedAt) {
  const std::string headers =
      "Content-Type: image/png; name=type\r\n"
      "content-disposition: form-data; filename=\"a;name=b.png\"; NAME = x; Name=picture ; z";
  EXPECT_EQ(Parts(kType, Part(headers, "png") + "--b--"), std::vector<std::string>{"picture=png"});
}

TEST(MultipartTest, AQuotedNameEndsAtItsQuote) {
  EXPECT_EQ(Parts(kType, Named("a;b=c", "x") + "--b--"), std::vector<std::string>{"a;b=c=x"});
  EXPECT_EQ(Parts(kType, Named(R"(a\"b)", "x") + "--b--"), std::vector<std::string>{R"(a\"b=x)"});
  EXPECT_THAT(ErrorOf(kType, Part("Content-Disposition: form-data; name=\"open", "x") + "--b--"),
              HasSubstr("a part has no name"));
  EXPECT_THAT(ErrorOf(kType, Named("", "x") + "--b--"), HasSubstr("a part has no name"));
  EXPECT_THAT(ErrorOf(kType, Part("Content-Type: text/plain", "x") + "--b--"),
              HasSubstr("a part has no name"));
}

TEST(MultipartTest, TheBoundaryHasOneTo70Characters) {
  for (const std::size_t size : {1, 2, 70}) {
    const std::string boundary(size, 'q');
    const std::string type = absl::StrCat("multipart/form-data; boundary=\"", boundary, "\"");
    EXPECT_EQ(Parts(type, absl::StrCat("--", boundary, "--")), std::vector<std::string>{}) << size;
  }
  const std::string expected = "expected multipart/form-data; boundary=...";
  EXPECT_THAT(ErrorOf("multipart/form-data", "--b--"), HasSubstr(expected));
  EXPECT_THAT(ErrorOf("multipart/form-data; boundary=", "----"), HasSubstr(expected));
  EXPECT_THAT(ErrorOf("multipart/form-data; boundary=\"b", "--b--"), HasSubstr(expected));
  const std::string long_one(71, 'q');
  EXPECT_THAT(ErrorOf("multipart/form-data; boundary=" + long_one, "--" + long_one + "--"),
              HasSubstr(expected));
}

TEST(MultipartTest, APartMayHaveAFileName) {
  const std::string body =
      absl::StrCat(Part("Content-Disposition: form-data; name=a; filename=\"x y\"", "1"),
                   Named("b", "2"), "--b--");
  const auto parts = ParseForm(kType, body);
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->at(0).file_name, "x y");
  EXPECT_EQ(parts->at(1).file_name, "");
}

TEST(MultipartTest, SomeFormsAreCutOrWrong) {
  EXPECT_THAT(ErrorOf(kType, ""), HasSubstr("expected to begin with its boundary"));
  EXPECT_THAT(ErrorOf(kType, "text --b--"), HasSubstr("expected to begin with its boundary"));
  EXPECT_THAT(ErrorOf(kType, "--b"), HasSubstr("expected a line's end after a boundary"));
  EXPECT_THAT(ErrorOf(kType, "--bc\r\n"), HasSubstr("expected a line's end after a boundary"));
  EXPECT_THAT(ErrorOf(kType, Named("a", "x") + "--b"), HasSubstr("expected a line's end"));
  EXPECT_THAT(ErrorOf(kType, "--b\r\nContent-Disposition: form-data; name=a\r\n"),
              HasSubstr("a part's header has no end"));
  EXPECT_THAT(ErrorOf(kType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx"),
              HasSubstr("ends before its last boundary"));
}

TEST(MultipartTest, AHeaderHasAtMost4096Bytes) {
  const auto padded = [](std::size_t bytes) {
    const std::string name = "Content-Disposition: form-data; name=a\r\nX: ";
    return Part(name + std::string(bytes - name.size(), 'x'), "x") + "--b--";
  };
  EXPECT_EQ(Parts(kType, padded(4092)), std::vector<std::string>{"a=x"});  // and an empty line
  EXPECT_THAT(ErrorOf(kType, padded(4093)), HasSubstr("a part's header has no end"));
}

TEST(MultipartTest, ThereAreSoManyPartsAndNoMore) {
  std::string body;
  for (std::size_t i = 0; i < kMaxFormParts; ++i) body += Named("a", "");
  EXPECT_EQ(Parts(kType, body + "--b--").size(), kMaxFormParts);
  EXPECT_THAT(ErrorOf(kType, body + Named("a", "") + "--b--"), HasSubstr("more than 1025 parts"));
}

}  // namespace
}  // namespace llava::api
