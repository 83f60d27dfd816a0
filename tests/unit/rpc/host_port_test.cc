#include "rpc/host_port.h"

#include <gtest/gtest.h>

namespace llava::rpc {
namespace {

TEST(HostPortTest, ReadsTheThreeForms) {
  EXPECT_EQ(ParseHostPort("127.0.0.1:80")->host, "127.0.0.1");
  EXPECT_EQ(ParseHostPort("[::1]:80")->host, "::1");
  EXPECT_EQ(ParseHostPort(":0")->host, "0.0.0.0");
  EXPECT_EQ(ParseHostPort("my_collector.example:4317")->host, "my_collector.example");
  EXPECT_EQ(ParseHostPort("1host.256:80")->host, "1host.256");
  EXPECT_EQ(ParseHostPort("[fe80::1%lo]:1")->host, "fe80::1%lo");
  for (const char* wrong :
       {"", "host", "host:", "host:x", "host:65536", "host:-1", "host:+1", "host: 80", "::1:80",
        "http://host:80", "a b:80", "user@host:80", "[host]:80", "[::1:80", "host/x:80",
        "256.1.1.1:80", "1.2.3.4.5:80", ".:80"}) {
    EXPECT_EQ(ParseHostPort(wrong).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
}

TEST(HostPortTest, AServerHasAHostAndAPort) {
  EXPECT_EQ(ParseServer("collector:4317")->port, "4317");
  EXPECT_EQ(ParseServer("[::1]:4317")->host, "::1");
  for (const char* wrong : {"", "x", ":4317", "collector:0", "http://collector:4317"}) {
    EXPECT_EQ(ParseServer(wrong).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
}

TEST(ClientNetworkTest, IsWhatOneClientHas) {
  const auto of = [](const char* text) {
    return ClientNetwork(boost::asio::ip::make_address(text)).to_string();
  };
  EXPECT_EQ(of("10.1.2.3"), "10.1.2.3");
  EXPECT_EQ(of("::ffff:10.1.2.3"), "10.1.2.3");
  EXPECT_EQ(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
  EXPECT_NE(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
}

}  // namespace
}  // namespace llava::rpc
