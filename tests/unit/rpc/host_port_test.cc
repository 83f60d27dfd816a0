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

}  // namespace
}  // namespace llava::rpc
