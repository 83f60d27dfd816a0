// The listening socket of a gRPC server. gRPC 1.51 stops listening for good after one accept() that
// fails for want of a file descriptor (CVE-2023-4785), and bounds connections in no way; so this
// accepts, bounds, and hands each connection over.
#ifndef LLAVA_RPC_CONNECTION_ACCEPTOR_H_
#define LLAVA_RPC_CONNECTION_ACCEPTOR_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "rpc/bytes_arrived.h"
#include "rpc/newcomers.h"

namespace llava::rpc {

struct AcceptorOptions {
  std::string listen;  // HOST:PORT; port 0 picks one
  std::int64_t max_connections = 4096;
  std::int64_t max_per_address = 256;  // an IPv6 address counts with its /64
};

// Which connections are open: descriptors that somebody else closes. They are found closed when
// their number names another file, or none. Not thread-safe.
class ConnectionTable {
 public:
  ConnectionTable(std::int64_t most, std::int64_t most_per_address)
      : most_(most), most_per_address_(most_per_address) {}

  // False, and nothing changes, when the address or all of them have too many.
  bool Add(int fd, const boost::asio::ip::address& peer);

  std::size_t size() const { return open_.size(); }

 private:
  struct Connection {
    int fd;
    std::uint64_t inode;
    boost::asio::ip::address peer;
  };
  void ForgetClosed(const boost::asio::ip::address* peer);  // null: of all
  std::int64_t CountOf(const boost::asio::ip::address& peer) const;

  const std::int64_t most_;
  const std::int64_t most_per_address_;
  std::vector<Connection> open_;
};

// Thread-safe. One thread of its own.
class ConnectionAcceptor {
 public:
  // Takes over `fd`, a connected socket, and closes it some time.
  using HandOver = std::function<void(int fd)>;

  // Listens; nothing is accepted before Start. UNAVAILABLE when the address cannot be bound,
  // INVALID_ARGUMENT when it is none.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Listen(const AcceptorOptions& options);
  ~ConnectionAcceptor() { Stop(); }

  int port() const { return port_; }
  int listening_fd() { return socket_.native_handle(); }

  // Accepts from now on. Both are called by the acceptor's thread and must not block; `tick` once a
  // second.
  void Start(HandOver hand_over, std::function<void()> tick);

  // A call on the connection of this peer, as gRPC names it, has shown a token. Any thread.
  void Prove(absl::string_view peer) { newcomers_.Prove(peer); }

  // Closes the listening socket. After it `hand_over` is not called any more.
  void Stop();

 private:
  explicit ConnectionAcceptor(const AcceptorOptions& options);
  absl::Status Bind(const std::string& listen);
  void Accept();
  void OnAccepted(const boost::system::error_code& error, boost::asio::ip::tcp::socket socket);
  void RefuseOne();
  void Tick();
  void WatchNewcomers();

  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor socket_;
  boost::asio::steady_timer pause_;
  boost::asio::steady_timer second_;
  boost::asio::steady_timer look_;
  bool looks_ = false;  // look_ is set
  ConnectionTable table_;
  Newcomers newcomers_{{}, BytesArrived};
  const RealClock clock_;
  HandOver hand_over_;
  std::function<void()> tick_;
  int port_ = 0;
  int spare_ = -1;  // a descriptor to give up when there is no other
  std::jthread thread_;
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_CONNECTION_ACCEPTOR_H_
