#include "rpc/connection_acceptor.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/read.hpp>
#include <memory>
#include <vector>

#include "base/mutex.h"

namespace llava::rpc {
namespace {

namespace asio = boost::asio;
using asio::ip::make_address;
using asio::ip::tcp;

int NewSocket() { return ::socket(AF_INET, SOCK_STREAM, 0); }

TEST(ConnectionTableTest, BoundsEachAddressAndAll) {
  ConnectionTable table(/*most=*/3, /*most_per_address=*/2);
  std::vector<int> fds;
  for (int i = 0; i < 6; ++i) fds.push_back(NewSocket());
  EXPECT_TRUE(table.Add(fds[0], make_address("10.0.0.1")));
  EXPECT_TRUE(table.Add(fds[1], make_address("10.0.0.1")));
  EXPECT_FALSE(table.Add(fds[2], make_address("10.0.0.1")));
  EXPECT_FALSE(table.Add(fds[2], make_address("::ffff:10.0.0.1")));
  EXPECT_TRUE(table.Add(fds[2], make_address("10.0.0.2")));
  EXPECT_FALSE(table.Add(fds[3], make_address("10.0.0.3")));
  // Closed by whoever has it, and its number given to another file.
  ::close(fds[0]);
  const int reused = ::dup(fds[3]);
  EXPECT_EQ(reused, fds[0]);
  EXPECT_TRUE(table.Add(fds[3], make_address("10.0.0.1")));
  EXPECT_FALSE(table.Add(fds[4], make_address("10.0.0.4")));
  for (const int fd : fds) ::close(fd);
  EXPECT_TRUE(table.Add(NewSocket(), make_address("10.0.0.4")));
  EXPECT_EQ(table.size(), 1u);
}

TEST(ConnectionTableTest, AnIpv6CustomerHasAWholeNetwork) {
  ConnectionTable table(10, 1);
  const int one = NewSocket();
  const int other = NewSocket();
  EXPECT_TRUE(table.Add(one, make_address("2001:db8:0:1::1")));
  EXPECT_FALSE(table.Add(other, make_address("2001:db8:0:1:ffff::9")));
  EXPECT_TRUE(table.Add(other, make_address("2001:db8:0:2::1")));
  ::close(one);
  ::close(other);
}

// Keeps what it is handed until told otherwise.
class Server {
 public:
  explicit Server(AcceptorOptions options) {
    options.listen = "127.0.0.1:0";
    acceptor_ = *ConnectionAcceptor::Listen(options);
    acceptor_->Start(
        [this](int fd) {
          MutexLock lock(&mutex_);
          fds_.push_back(fd);
          changed_.NotifyAll();
        },
        [] {});
  }
  ~Server() {
    acceptor_->Stop();
    CloseAll();
  }

  // Waits until so many were handed over.
  void Await(std::size_t count) {
    MutexLock lock(&mutex_);
    while (fds_.size() < count) changed_.Wait(&mutex_);
  }
  void CloseAll() {
    MutexLock lock(&mutex_);
    for (const int fd : fds_) ::close(fd);
    fds_.clear();
  }
  tcp::endpoint endpoint() const {
    return {make_address("127.0.0.1"), static_cast<std::uint16_t>(acceptor_->port())};
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<int> fds_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ConnectionAcceptor> acceptor_;
};

// Whether the other side closes, rather than keeps, a connection that it has taken.
bool IsClosed(tcp::socket* socket) {
  char byte = 0;
  boost::system::error_code error;
  asio::read(*socket, asio::buffer(&byte, 1), error);
  return error == asio::error::eof || error == asio::error::connection_reset;
}

TEST(ConnectionAcceptorTest, ClosesWhatIsTooMuch) {
  Server server({.listen = "", .max_connections = 10, .max_per_address = 2});
  asio::io_context io;
  tcp::socket first(io), second(io), third(io), fourth(io);
  first.connect(server.endpoint());
  second.connect(server.endpoint());
  server.Await(2);
  third.connect(server.endpoint());
  EXPECT_TRUE(IsClosed(&third));
  server.CloseAll();
  fourth.connect(server.endpoint());
  server.Await(1);
}

// CVE-2023-4785: one accept() without a descriptor, and gRPC's own listener is dead for good.
TEST(ConnectionAcceptorTest, AcceptsAgainAfterTheDescriptorsWereUsedUp) {
  Server server({});
  asio::io_context io;
  tcp::socket before(io), refused(io), after(io);
  for (tcp::socket* socket : {&before, &refused, &after}) socket->open(tcp::v4());
  before.connect(server.endpoint());
  server.Await(1);
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit old = limit;
  // No descriptor below the highest that is open is free once these are taken.
  limit.rlim_cur = 256;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  std::vector<int> fillers;
  for (int fd = NewSocket(); fd >= 0; fd = NewSocket()) fillers.push_back(fd);
  refused.connect(server.endpoint());  // the kernel takes it
  EXPECT_TRUE(IsClosed(&refused));     // and is told at once
  for (const int fd : fillers) ::close(fd);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  after.connect(server.endpoint());
  server.Await(2);
}

TEST(ConnectionAcceptorTest, NamesTheAddressThatIsTaken) {
  Server server({});
  const std::string taken = "127.0.0.1:" + std::to_string(server.endpoint().port());
  const auto second = ConnectionAcceptor::Listen({.listen = taken});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(second.status().message().find(taken), absl::string_view::npos);
  EXPECT_EQ(ConnectionAcceptor::Listen({.listen = "nowhere"}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace llava::rpc
