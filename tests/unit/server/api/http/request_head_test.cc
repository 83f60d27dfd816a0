#include "server/api/http/request_head.h"

#include <gtest/gtest.h>

#include <boost/beast/http/parser.hpp>
#include <string>

#include "absl/strings/str_cat.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;

// The status that a head with these lines is refused with; 0: it is not.
int Refused(const std::string& lines, const std::string& first = "POST /x HTTP/1.1") {
  http::request_parser<http::string_body> parser;
  boost::beast::error_code error;
  const std::string text = absl::StrCat(first, "\r\n", lines, "\r\n");
  parser.put(boost::asio::buffer(text), error);
  if (error) return 400;  // the parser refuses it
  EXPECT_TRUE(parser.is_header_done()) << text;
  const auto refusal = RefuseHead(parser.get(), parser.chunked());
  return refusal ? static_cast<int>(refusal->result_int()) : 0;
}

TEST(RequestHeadTest, ABodyMustHaveOneEnd) {
  EXPECT_EQ(Refused("Host: x\r\nTransfer-Encoding: chunked\r\n"), 0);
  EXPECT_EQ(Refused("Host: x\r\nTransfer-Encoding: Chunked\r\n"), 0);
  for (const char* value : {"xchunked", "gzip", "chunked, identity", "chunked;q=1", ", ", "",
                            "chunked\r\nTransfer-Encoding: identity"}) {
    EXPECT_EQ(Refused(absl::StrCat("Host: x\r\nTransfer-Encoding: ", value, "\r\n")), 400) << value;
  }
  EXPECT_EQ(Refused("Host: x\r\nTransfer-Encoding: gzip, chunked\r\n"), 501);
  EXPECT_EQ(Refused("Host: x\r\nTransfer-Encoding: chunked\r\n", "POST /x HTTP/1.0"), 400);
}

TEST(RequestHeadTest, OneHost) {
  for (const char* host : {"x", "127.0.0.1:8080", "[::1]:80", "my_service", ""}) {
    EXPECT_EQ(Refused(absl::StrCat("Host: ", host, "\r\n")), 0) << host;
  }
  EXPECT_EQ(Refused(""), 400);
  EXPECT_EQ(Refused("", "POST /x HTTP/1.0"), 0);
  EXPECT_EQ(Refused("Host: x\r\nHost: x\r\n"), 400);
  EXPECT_EQ(Refused("Host: x\r\nHost: y\r\n", "POST /x HTTP/1.0"), 400);
  for (const char* host : {"a b", "user@x", "x/y", "x:port"}) {
    EXPECT_EQ(Refused(absl::StrCat("Host: ", host, "\r\n")), 400) << host;
  }
}

TEST(RequestHeadTest, FieldsThatComeOnce) {
  for (const char* name : {"Authorization", "Content-Type", "Origin", "X-Tenant", "X-Request-Id"}) {
    const std::string line = absl::StrCat(name, ": a\r\n");
    EXPECT_EQ(Refused("Host: x\r\n" + line), 0) << name;
    EXPECT_EQ(Refused("Host: x\r\n" + line + line), 400) << name;
  }
  EXPECT_EQ(Refused("Host: x\r\nAccept: a\r\nAccept: b\r\n"), 0);
}

TEST(RequestHeadTest, BodiesComeAsTheyAre) {
  EXPECT_EQ(Refused("Host: x\r\nContent-Encoding: identity\r\n"), 0);
  EXPECT_EQ(Refused("Host: x\r\nContent-Encoding: gzip\r\n"), 415);
  EXPECT_EQ(Refused("Host: x\r\nContent-Encoding: identity, br\r\n"), 415);
}

TEST(RequestHeadTest, LaterMinorVersionsAreReadAsTheLastKnown) {
  const auto lowered = [](std::string text) {
    return LowerMinorVersion(text) ? text : "as it was";
  };
  EXPECT_EQ(lowered("GET / HTTP/1.2\r\n\r\n"), "GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(lowered("GET /HTTP/1.2 HTTP/1.9\r\nA: HTTP/1.2\r\n"),
            "GET /HTTP/1.2 HTTP/1.1\r\nA: HTTP/1.2\r\n");
  for (const char* text :
       {"GET / HTTP/1.1\r\n", "GET / HTTP/1.0\r\n", "GET / HTTP/2.2\r\n", "GET / HTTP/1.x\r\n",
        "GET / HTTP/1.12\r\n", "GET / HTTP/1.2", "\r\n", ""}) {
    EXPECT_EQ(lowered(text), "as it was") << text;
  }
}

TEST(RequestHeadTest, Expectations) {
  EXPECT_EQ(Refused("Host: x\r\nExpect: 100-Continue\r\n"), 0);
  EXPECT_EQ(Refused("Host: x\r\nExpect: more\r\n"), 417);
  HttpRequest request;
  EXPECT_FALSE(ExpectsContinue(request));
  request.set(http::field::expect, "100-CONTINUE");
  EXPECT_TRUE(ExpectsContinue(request));
  // Clients of HTTP/1.0 know no 100 (section 10.1.1 of RFC 9110).
  request.version(10);
  EXPECT_FALSE(ExpectsContinue(request));
  EXPECT_EQ(Refused("Expect: more\r\n", "GET / HTTP/1.0"), 0);
}

TEST(RequestHeadTest, TargetsArePathsOrUrls) {
  for (const char* target : {"/", "/a?b=[c]", "/a%20b", "http://x/a", "HTTPS://x", "*"}) {
    EXPECT_EQ(Refused("Host: x\r\n", absl::StrCat("GET ", target, " HTTP/1.1")), 0) << target;
  }
  for (const char* target : {"a", "x:1", "ftp://x/a", "http:/a"}) {
    EXPECT_EQ(Refused("Host: x\r\n", absl::StrCat("GET ", target, " HTTP/1.1")), 400) << target;
  }
}

}  // namespace
}  // namespace llava::api
