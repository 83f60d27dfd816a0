// Whether our own ports answer, seen from outside: a port that is bound and that nobody serves any
// more takes connections all the same.
#ifndef LLAVA_RPC_PORT_PROBE_H_
#define LLAVA_RPC_PORT_PROBE_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace llava::rpc {

// A port to dial, and what to say to it so that it says something.
struct ProbedPort {
  std::string name;    // for messages, such as "gRPC"
  std::string listen;  // as configured; an unspecified host is dialled as this machine
  int port = 0;
  std::string greeting;
};

// What a server of HTTP/2, of HTTP/1.1 or of TLS answers. The last is a ClientHello: its answer
// comes before any certificate is looked at.
std::string Http2Greeting();
std::string Http1Greeting();
std::string TlsGreeting();

// Dials each port every `interval`. Thread-safe. One thread of its own.
class PortProbe {
 public:
  struct Options {
    Duration interval = std::chrono::seconds(5);
    Duration patience = std::chrono::seconds(3);  // until the first byte of the answer
    int tries = 2;                                // that fail before a port counts as dead
  };

  // INVALID_ARGUMENT for an address that cannot be dialled.
  static absl::StatusOr<std::unique_ptr<PortProbe>> Start(const std::vector<ProbedPort>& ports,
                                                          const Options& options);
  ~PortProbe();

  // What is wrong with a port; empty when all answer, or were not dialled yet.
  std::string Problem() const;

 private:
  class Dialler;

  PortProbe() = default;

  boost::asio::io_context io_;
  std::vector<std::unique_ptr<Dialler>> diallers_;
  std::jthread thread_;
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_PORT_PROBE_H_
