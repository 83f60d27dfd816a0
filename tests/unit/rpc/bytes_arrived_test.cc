#include "rpc/bytes_arrived.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace llava::rpc {
namespace {

TEST(BytesArrivedTest, CountsWhatNobodyHasReadYet) {
  const int listening = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(listening, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listening, 1), 0);
  ASSERT_EQ(getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(connect(client, reinterpret_cast<sockaddr*>(&address), size), 0);
  const int server = accept(listening, nullptr, nullptr);
  EXPECT_EQ(BytesArrived(server), 0);
  ASSERT_EQ(send(client, "hello", 5, 0), 5);
  char byte;
  ASSERT_EQ(recv(server, &byte, 1, 0), 1);
  EXPECT_EQ(BytesArrived(server), 5);
  for (const int fd : {listening, client, server}) close(fd);
  EXPECT_EQ(BytesArrived(server), -1);
}

}  // namespace
}  // namespace llava::rpc
