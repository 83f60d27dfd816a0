#include "server/api/openai/multipart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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

// What a reader makes of a body that comes cut at these places: as Parts, with the files' names.
std::string Streamed(const std::string& body, const std::vector<std::size_t>& cuts) {
  FormReader reader = FormReader::Make(kType).value();
  std::string text;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= cuts.size(); ++i) {
    const std::size_t end = i < cuts.size() ? cuts[i] : body.size();
    const std::string piece = body.substr(begin, end - begin);  // may not outlive the call
    begin = end;
    reader.Feed(piece);
    for (;;) {
      const auto next = reader.Next();
      if (!next.ok()) return std::string(next.status().message());
      if (!next->has_value()) break;
      if ((*next)->begins) {
        absl::StrAppend(&text, "[", (*next)->name, "/", (*next)->file_name, "]");
      } else {
        EXPECT_FALSE((*next)->content.empty());
        absl::StrAppend(&text, (*next)->content);
      }
    }
  }
  const absl::Status status = reader.Finish();
  return status.ok() ? text : std::string(status.message());
}

TEST(FormReaderTest, SaysTheSameWhereverTheBodyIsCut) {
  const std::string odd("\r\n--\r\n-- b\0\r\r\n--", 16);
  const std::string body = absl::StrCat(
      Named("one", odd), Named("two", ""),
      Part("Content-Disposition: form-data; name=f; filename=x", "\r\n--a\r\n--"), "--b--\r\nrest");
  const std::string whole = Streamed(body, {});
  EXPECT_EQ(whole, absl::StrCat("[one/]", odd, "[two/][f/x]\r\n--a\r\n--"));
  for (std::size_t i = 0; i <= body.size(); ++i) {
    EXPECT_EQ(Streamed(body, {i}), whole) << i;
    for (std::size_t j = i; j <= body.size(); ++j) ASSERT_EQ(Streamed(body, {i, j}), whole);
  }
}

TEST(FormReaderTest, FailsWhereTheWholeBodyWould) {
  const std::string header = "--b\r\nContent-Disposition: form-data; name=a\r\n";
  std::string many;
  for (std::size_t i = 0; i < kMaxFormParts; ++i) many += Named("a", "");
  EXPECT_EQ(ParseForm(kType, many + "--b--")->size(), kMaxFormParts);
  const std::string wrong[] = {"",
                               "-",
                               "--bc\r\n",
                               "--b",
                               "--b-",
                               "--b-x",
                               "text --b--",
                               Named("a", "x") + "--b",
                               header,
                               header + "\r\nx",
                               header + std::string(5000, 'x') + "\r\n\r\nx\r\n--b--",
                               Named("", "x") + "--b--",
                               many + Named("a", "") + "--b--"};
  for (const std::string& body : wrong) {
    EXPECT_FALSE(ParseForm(kType, body).ok()) << body.substr(0, 100);
    std::vector<std::size_t> each;
    for (std::size_t i = 0; i < std::min<std::size_t>(body.size(), 6000); ++i) each.push_back(i);
    EXPECT_THAT(Streamed(body, each), HasSubstr("the form: ")) << body.substr(0, 100);
  }
  EXPECT_FALSE(FormReader::Make("multipart/form-data").ok());
}

}  // namespace
}  // namespace llava::api
