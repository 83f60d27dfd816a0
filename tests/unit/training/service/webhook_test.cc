#include "training/service/webhook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/scripted_server.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class WebhookTest : public ::testing::Test {
 protected:
  std::unique_ptr<Webhook> Start(const std::string& url, const std::string& token_file = "") {
    WebhookOptions options{.url = url, .token_file = token_file, .attempts = 3};
    options.first_wait = options.longest_wait = std::chrono::milliseconds(1);
    auto hook = Webhook::Start(options, clock_, [this](const auto& message, const auto& status) {
      MutexLock lock(&mutex_);
      ended_.push_back(absl::StrCat(message.job, ": ", std::string(status.message())));
      changed_.NotifyAll();
    });
    EXPECT_TRUE(hook.ok()) << hook.status();
    return *std::move(hook);
  }

  std::vector<std::string> WaitForEnds(std::size_t count) {
    const TimePoint deadline = clock_.Now() + std::chrono::seconds(100);
    MutexLock lock(&mutex_);
    while (ended_.size() < count && clock_.Now() < deadline) changed_.WaitUntil(&mutex_, deadline);
    return ended_;
  }

  RealClock clock_;
  test::TempDir dir_;
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::string> ended_;
};

TEST_F(WebhookTest, PostsInOrderAndAgainUntilItIsTaken) {
  Mutex mutex;
  std::vector<std::string> bodies;
  test::ScriptedServer server([&](std::size_t n, const std::string& body) {
    MutexLock lock(&mutex);
    bodies.push_back(body);
    return test::HttpText(n == 0 ? 503 : 204, "");
  });
  const auto hook = Start(server.url() + "/hook");
  hook->Post({1, "{\"job\":1}"});
  hook->Post({2, "{\"job\":2}"});
  EXPECT_THAT(WaitForEnds(2), ElementsAre("1: ", "2: "));
  MutexLock lock(&mutex);
  EXPECT_THAT(bodies, ElementsAre("{\"job\":1}", "{\"job\":1}", "{\"job\":2}"));
}

TEST_F(WebhookTest, GivesUpAndGoesOnWithTheNext) {
  test::ScriptedServer server(
      [&](std::size_t n, const std::string&) { return test::HttpText(n < 3 ? 500 : 200, ""); });
  const auto hook = Start(server.url());
  hook->Post({1, "{}"});
  hook->Post({2, "{}"});
  EXPECT_THAT(WaitForEnds(2), ElementsAre("1: answered with HTTP 500", "2: "));
}

TEST_F(WebhookTest, WithoutItsSecretNothingIsSent) {
  test::ScriptedServer server({test::HttpText(200, "")});
  const std::string file = dir_.path() + "/token";
  EXPECT_THAT(std::string(Webhook::Start({.url = server.url(), .token_file = file}, clock_, nullptr)
                              .status()
                              .message()),
              HasSubstr(absl::StrCat("webhook.token_file: ", file)));
  std::ofstream(file) << "secret\n";
  const auto hook = Start(server.url(), file);
  std::filesystem::remove(file);
  hook->Post({1, "{}"});
  EXPECT_THAT(WaitForEnds(1), ElementsAre(HasSubstr(file)));
  std::ofstream(file) << "another\n";
  hook->Post({2, "{}"});
  EXPECT_EQ(WaitForEnds(2).back(), "2: ");
}

TEST_F(WebhookTest, OneThatNeverAnswersDoesNotDelayTheEnd) {
  boost::asio::io_context context;
  boost::asio::ip::tcp::acceptor acceptor(context, {boost::asio::ip::address_v4::loopback(), 0});
  const WebhookOptions options{
      .url = absl::StrCat("http://127.0.0.1:", acceptor.local_endpoint().port(), "/"),
      .timeout = std::chrono::hours(1)};
  auto hook = *Webhook::Start(options, clock_, [](const auto&, const auto&) { ADD_FAILURE(); });
  hook->Post({1, "{}"});
  const boost::asio::ip::tcp::socket silent = acceptor.accept();
  hook.reset();  // returns before the hour is over
}

TEST_F(WebhookTest, NobodyThereDelaysNobody) {
  std::unique_ptr<Webhook> hook = Start("http://127.0.0.1:1/");
  hook->Post({1, "{}"});
  EXPECT_EQ(WaitForEnds(1).size(), 1u);
  for (const char* url :
       {"", "ftp://x/", "example.com", "http://", "http://u:p@h/", "http://h/?q"}) {
    EXPECT_THAT(std::string(Webhook::Start({.url = url}, clock_, nullptr).status().message()),
                HasSubstr("webhook.url: "))
        << url;
  }
}

}  // namespace
}  // namespace llava::training
