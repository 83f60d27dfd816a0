// Any bytes as a connection to the gRPC port, from its first byte on: whatever a client without a
// token says, it is told something or disconnected, and the port goes on answering others.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/check.h"
#include "rpc/auth.h"
#include "rpc/call_guard.h"
#include "rpc/grpc_server.h"

namespace llava::rpc {
namespace {

constexpr int kPatienceMs = 10'000;
constexpr int kOthersAskEvery = 64;  // inputs
constexpr std::string_view kHello("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);

class Target {
 public:
  Target()
      : auth_(*Auth::FromText("alice chat sha256:" + std::string(64, '0'), "tokens")),
        guard_(&auth_),
        server_(*GrpcServer::Start(Options(), {}, &guard_)) {
    server_->SetServing(true);
  }

  // Sends all, says that no more comes, and reads until the server closes or says no more either.
  // What came.
  std::string Say(std::string_view bytes) {
    const int fd = Connect();
    while (!bytes.empty()) {
      const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    shutdown(fd, SHUT_WR);
    std::string said;
    for (;;) {
      pollfd readable{fd, POLLIN, 0};
      LLAVA_CHECK(poll(&readable, 1, kPatienceMs) == 1);  // it is not left hanging
      char piece[4096];
      const ssize_t got = recv(fd, piece, sizeof(piece), 0);
      if (got <= 0) break;
      said.append(piece, static_cast<std::size_t>(got));
    }
    close(fd);
    return said;
  }

 private:
  static GrpcOptions Options() {
    GrpcOptions options;
    options.listen = "127.0.0.1:0";
    return options;
  }

  int Connect() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(server_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    LLAVA_CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    return fd;
  }

  Auth auth_;
  CallGuard guard_;
  std::unique_ptr<GrpcServer> server_;
};

}  // namespace
}  // namespace llava::rpc

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace rpc = llava::rpc;
  static auto* target = new rpc::Target;  // lives as long as the process
  static int inputs = 0;
  target->Say({reinterpret_cast<const char*>(data), size});
  if (++inputs % rpc::kOthersAskEvery == 0) {
    LLAVA_CHECK(!target->Say(rpc::kHello).empty());  // its settings
  }
  return 0;
}
