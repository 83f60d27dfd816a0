#include "base/http/http_exchange.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/scripted_server.h"

namespace llava {
namespace {

HttpResult Post(const std::string& url, Duration idle = std::chrono::seconds(20)) {
  const HttpTarget target = *ParseTarget(url);
  const RealClock clock;
  const std::string body = "{}";
  const std::string key = "Bearer k";
  const std::string path = "/chat/completions";
  const HttpPost post{.user_agent = "test",
                      .path = path,
                      .body = body,
                      .authorization = key,
                      .allow_public = false,
                      .idle = idle,
                      .deadline = clock.Now() + std::chrono::seconds(60)};
  boost::asio::io_context context;
  boost::asio::ssl::context tls(boost::asio::ssl::context::tls_client);
  HttpResult result;
  boost::asio::co_spawn(
      context, PostOnce(context.get_executor(), &tls, &target, &post, &clock),
      [&](const std::exception_ptr&, HttpResult got) { result = std::move(got); });
  context.run();
  return result;
}

TEST(HttpExchange, TargetsAreUrlsOfAService) {
  const auto target = ParseTarget("https://api.example.com/v1/");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_TRUE(target->tls);
  EXPECT_EQ(target->host, "api.example.com");
  EXPECT_EQ(target->port, "443");
  EXPECT_EQ(target->path, "/v1");
  EXPECT_EQ(ParseTarget("http://[::1]:8080")->address, "::1");
  EXPECT_EQ(ParseTarget("http://[::1]:8080")->authority, "[::1]:8080");
  for (const char* wrong : {"", "ftp://h/v1", "http://user:pw@h/v1", "http:///v1", "h:80",
                            "http://h/v1?key=1", "http://127.0.0.1x/v1"}) {
    const absl::Status status = ParseTarget(wrong).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << wrong;
    EXPECT_EQ(status.message().find("pw"), std::string::npos) << status;
  }
}

TEST(HttpExchange, TakesWhatMattersOfAnAnswer) {
  test::ScriptedServer server({test::HttpText(
      429, "busy", "Retry-After: 3\r\nx-ratelimit-reset-tokens: 2s\r\nLocation: /x\r\n")});
  const HttpResult result = Post(server.url());
  ASSERT_TRUE(result.failure.status.ok()) << result.failure.status;
  EXPECT_EQ(result.answer.status, 429);
  EXPECT_EQ(result.answer.body, "busy");
  EXPECT_EQ(result.answer.retry_after, "3");
  EXPECT_EQ(result.answer.rate_limit_reset, "2s");
  EXPECT_EQ(result.answer.location, "/x");
  EXPECT_EQ(server.authorization(), "Bearer k");
}

TEST(HttpExchange, EndsWhatNeverEnds) {
  std::string endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 40; ++i) endless += "10000\r\n" + std::string(0x10000, 'x') + "\r\n";
  test::ScriptedServer large({endless});
  EXPECT_THAT(std::string(Post(large.url()).failure.status.message()),
              testing::HasSubstr("more than 1048576 bytes"));
  test::ScriptedServer half({"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"});
  const HttpResult cut = Post(half.url());
  EXPECT_TRUE(absl::IsUnavailable(cut.failure.status)) << cut.failure.status;
  EXPECT_TRUE(cut.failure.sent);
  test::ScriptedServer noise({"no HTTP at all"});
  EXPECT_FALSE(Post(noise.url()).failure.status.ok());
}

TEST(HttpExchange, NobodyThereIsNotSent) {
  std::string url;
  {
    test::ScriptedServer server({std::string()});
    url = server.url();
  }
  const HttpResult result = Post(url);
  EXPECT_FALSE(result.failure.status.ok());
  EXPECT_FALSE(result.failure.sent);
}

TEST(HttpExchange, PlainHttpStaysNear) {
  const HttpResult result = Post("http://192.0.2.1/v1", std::chrono::seconds(1));
  EXPECT_TRUE(absl::IsPermissionDenied(result.failure.status)) << result.failure.status;
}

}  // namespace
}  // namespace llava
