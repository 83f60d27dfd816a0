// Connections on which no call has shown a token yet. What such a one may send is bounded, so that
// floods inside HTTP/2, which gRPC itself takes without end, end with their connection.
#ifndef LLAVA_RPC_NEWCOMERS_H_
#define LLAVA_RPC_NEWCOMERS_H_

#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace llava::rpc {

// What HTTP/2 lets a client send of its messages until the server grants more, on one connection
// (RFC 9113, section 6.9.2), in bytes. The server grants more when a call has shown its token and
// asks for its message.
constexpr std::int64_t kFirstWindow = 65'535;

// Thread-safe. The first `free_bytes` of each connection cost nothing: they hold a handshake of
// TLS, the headers of calls, and the first window, so that an honest client is not cut however late
// its token is looked at. What it sends beyond them is paid from the purse of its network
// (ClientNetwork), which fills by `rate`; where that is empty the connection is cut.
class Newcomers {
 public:
  struct Limits {
    std::int64_t free_bytes = kFirstWindow + (32 << 10);
    std::int64_t purse = 256 << 10;  // bytes
    std::int64_t rate = 32 << 10;    // bytes a second
  };
  // Bytes that have come over the connection; a negative number when it is closed.
  using Arrived = std::function<std::int64_t(int fd)>;

  Newcomers(const Limits& limits, Arrived arrived)
      : limits_(limits), arrived_(std::move(arrived)) {}

  void Add(int fd, const boost::asio::ip::tcp::endpoint& peer);

  // A call on the connection has shown a token. `peer`: as gRPC names it, "ipv4:127.0.0.1:4711" or
  // "ipv6:%5B::1%5D:4711".
  void Prove(absl::string_view peer);

  // Forgets closed ones, and cuts those that send too much. How many it cut.
  int Look(TimePoint now);

  bool empty() const;

 private:
  // An address of either kind and a port.
  using Peer = std::pair<boost::asio::ip::address, std::uint16_t>;
  struct Newcomer {
    int fd = -1;
    std::uint64_t inode = 0;
    std::int64_t paid = 0;  // of its bytes
  };
  struct Purse {
    std::int64_t bytes = 0;
    TimePoint filled;
  };
  bool Pays(const Peer& peer, std::int64_t bytes, TimePoint now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Limits limits_;
  const Arrived arrived_;
  mutable Mutex mutex_;
  std::map<Peer, Newcomer> newcomers_ ABSL_GUARDED_BY(mutex_);
  std::map<boost::asio::ip::address, Purse> purses_ ABSL_GUARDED_BY(mutex_);  // those not full
};

// Of a socket; 0 when the descriptor is closed. No two open sockets share one.
std::uint64_t InodeOf(int fd);

}  // namespace llava::rpc

#endif  // LLAVA_RPC_NEWCOMERS_H_
