#include "rpc/port_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <thread>

#include "absl/strings/match.h"

namespace llava::rpc {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr PortProbe::Options kQuick = {.interval = std::chrono::milliseconds(5),
                                       .patience = std::chrono::milliseconds(50),
                                       .tries = 2};

class PortProbeTest : public ::testing::Test {
 protected:
  PortProbeTest() : listener_(io_, {asio::ip::make_address("127.0.0.1"), 0}) {}

  ProbedPort Port() const {
    return {"gRPC", "0.0.0.0:0", listener_.local_endpoint().port(), "hello"};
  }

  // Takes `count` connections, one after the other, and answers each.
  void Serve(int count) {
    for (int i = 0; i < count; ++i) {
      tcp::socket socket = listener_.accept();
      char hello[5];
      asio::read(socket, asio::buffer(hello));
      asio::write(socket, asio::buffer("x", 1));
    }
  }

  asio::io_context io_;
  tcp::acceptor listener_;
};

TEST_F(PortProbeTest, APortThatTakesConnectionsAndSaysNothingIsDead) {
  const auto probe = PortProbe::Start({Port()}, kQuick);
  ASSERT_TRUE(probe.ok()) << probe.status();
  while ((*probe)->Problem().empty()) std::this_thread::yield();
  EXPECT_THAT((*probe)->Problem(), ::testing::StartsWith("the gRPC port "));
  // What waits in the kernel's queue was given up by the probe; then come new ones.
  std::jthread server([this] {
    boost::system::error_code error;
    while (!error) {
      tcp::socket socket(io_);
      listener_.accept(socket, error);
      boost::system::error_code gone;
      if (!error) asio::write(socket, asio::buffer("x", 1), gone);
    }
  });
  while (!(*probe)->Problem().empty()) std::this_thread::yield();
  ::shutdown(listener_.native_handle(), SHUT_RDWR);
}

TEST_F(PortProbeTest, APortThatAnswersIsNoProblem) {
  const auto probe = PortProbe::Start(
      {Port()},
      {.interval = std::chrono::milliseconds(1), .patience = std::chrono::minutes(1), .tries = 1});
  ASSERT_TRUE(probe.ok());
  Serve(3);
  EXPECT_EQ((*probe)->Problem(), "");
}

TEST(PortProbeGreetingTest, IsWhatEachServerAnswers) {
  EXPECT_TRUE(absl::StartsWith(Http2Greeting(), "PRI * HTTP/2.0\r\n"));
  EXPECT_EQ(Http2Greeting().size(), 24u + 9u);
  EXPECT_TRUE(absl::StartsWith(Http1Greeting(), "GET /healthz HTTP/1.1\r\n"));
  const std::string hello = TlsGreeting();
  ASSERT_GT(hello.size(), 100u);
  EXPECT_EQ(hello[0], 0x16);  // a handshake record
  EXPECT_EQ(hello[5], 0x01);  // ClientHello
}

}  // namespace
}  // namespace llava::rpc
