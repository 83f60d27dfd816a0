#include "rpc/host_port.h"

#include <gtest/gtest.h>

namespace llava::rpc {
namespace {

TEST(HostPortTest, ReadsTheThreeForms) {
  EXPECT_EQ(ParseHostPort("127.0.0.1:80")->host, "127.0.0.1");
  EXPECT_EQ(ParseHostPort("[::1]:80")->host, "::1");
  EXPECT_EQ(ParseHostPort(":0")->host, "0.0.0.0");
  for (const char* wrong : {"", "host", "host:", "host:x", "host:65536", "host:-1", "::1:80"}) {
    EXPECT_EQ(ParseHostPort(wrong).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
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
