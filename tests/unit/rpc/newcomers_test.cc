#include "rpc/newcomers.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/ip/address.hpp>
#include <map>
#include <string>
#include <vector>

namespace llava::rpc {
namespace {

using boost::asio::ip::make_address;
using boost::asio::ip::tcp;

// Sockets of which the test says how much has arrived.
class NewcomersTest : public ::testing::Test {
 protected:
  ~NewcomersTest() override {
    for (const int fd : fds_) ::close(fd);
  }

  int Connect(const std::string& address, std::uint16_t port) {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    fds_.insert(fds_.end(), {pair[0], pair[1]});
    others_[pair[0]] = pair[1];
    newcomers_.Add(pair[0], {make_address(address), port});
    return pair[0];
  }

  // Whether the other end reads an end.
  bool IsCut(int fd) {
    char byte;
    return recv(others_[fd], &byte, 1, MSG_DONTWAIT) == 0;
  }

  int Look() { return newcomers_.Look(clock_.Now()); }

  ManualClock clock_;
  std::map<int, std::int64_t> arrived_;
  Newcomers newcomers_{{.free_bytes = 100, .purse = 1000, .rate = 10},
                       [this](int fd) { return arrived_[fd]; }};
  std::vector<int> fds_;
  std::map<int, int> others_;
};

TEST_F(NewcomersTest, WhatIsBeyondTheFreeBytesIsPaidByTheNetwork) {
  const int one = Connect("10.0.0.1", 1);
  const int two = Connect("10.0.0.1", 2);
  const int other = Connect("10.0.0.2", 1);
  arrived_ = {{one, 100}, {two, 700}, {other, 1100}};
  EXPECT_EQ(Look(), 0);
  arrived_[one] = 500;  // all that is left
  EXPECT_EQ(Look(), 0);
  arrived_[two] = 701;
  EXPECT_EQ(Look(), 1);
  EXPECT_TRUE(IsCut(two));
  EXPECT_FALSE(IsCut(one));
  EXPECT_FALSE(IsCut(other));
  clock_.Advance(std::chrono::seconds(10));
  arrived_[one] = 600;
  EXPECT_EQ(Look(), 0);
  arrived_[one] = 601;
  EXPECT_EQ(Look(), 1);
  EXPECT_FALSE(newcomers_.empty());  // the other one
}

TEST_F(NewcomersTest, WhoHasShownATokenSendsWhatItLikes) {
  const int four = Connect("127.0.0.1", 4711);
  const int mapped = Connect("::ffff:127.0.0.2", 4711);
  const int six = Connect("::1", 4711);
  newcomers_.Prove("ipv4:127.0.0.1:4711");
  newcomers_.Prove("ipv4:127.0.0.2:4711");
  for (const char* other : {"ipv4:127.0.0.1:4712", "ipv6:%5B::2%5D:4711", "unix:", "ipv4:x", ""}) {
    newcomers_.Prove(other);
  }
  arrived_ = {{four, 1 << 30}, {mapped, 1 << 30}, {six, 50}};
  EXPECT_EQ(Look(), 0);
  EXPECT_FALSE(newcomers_.empty());
  newcomers_.Prove("ipv6:%5B::1%5D:4711");
  EXPECT_TRUE(newcomers_.empty());
}

TEST_F(NewcomersTest, AClosedOneIsForgotten) {
  const int one = Connect("10.0.0.1", 1);
  arrived_[one] = 1 << 30;
  ::close(one);
  fds_.erase(fds_.begin());
  EXPECT_EQ(Look(), 0);
  EXPECT_TRUE(newcomers_.empty());
  EXPECT_EQ(InodeOf(one), 0u);
}

}  // namespace
}  // namespace llava::rpc
