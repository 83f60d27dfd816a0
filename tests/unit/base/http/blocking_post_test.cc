#include "base/http/blocking_post.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/scripted_server.h"

namespace llava {
namespace {

absl::StatusOr<HttpAnswer> Post(BlockingPost* poster, const std::string& url) {
  const HttpTarget target = *ParseTarget(url);
  const RealClock clock;
  const std::string body = "{}";
  const std::string nothing;
  const HttpPost post{.user_agent = "test",
                      .path = nothing,
                      .body = body,
                      .authorization = nothing,
                      .allow_public = false,
                      .idle = std::chrono::hours(1),
                      .deadline = clock.Now() + std::chrono::hours(1)};
  return poster->Run(target, post);
}

TEST(BlockingPost, AnswersAndFailuresComeBack) {
  test::ScriptedServer server({test::HttpText(200, "one"), test::HttpText(503, "two"), ""});
  const RealClock clock;
  BlockingPost poster(clock);
  EXPECT_EQ(Post(&poster, server.url())->body, "one");
  EXPECT_EQ(Post(&poster, server.url())->status, 503);
  EXPECT_TRUE(absl::IsUnavailable(Post(&poster, server.url()).status()));
}

TEST(BlockingPost, StoppedItEndsAtOnceAndForGood) {
  boost::asio::io_context context;
  boost::asio::ip::tcp::acceptor acceptor(context, {boost::asio::ip::address_v4::loopback(), 0});
  const std::string url = "http://127.0.0.1:" + std::to_string(acceptor.local_endpoint().port());
  const RealClock clock;
  BlockingPost poster(clock);
  absl::Status status;
  std::jthread caller([&] { status = Post(&poster, url).status(); });
  const boost::asio::ip::tcp::socket silent = acceptor.accept();
  poster.Stop();
  caller.join();  // before the hour is over
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(absl::IsCancelled(Post(&poster, url).status()));
}

}  // namespace
}  // namespace llava
