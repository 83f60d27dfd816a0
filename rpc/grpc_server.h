// The gRPC side of the daemon: port, credentials, limits, health and reflection.
#ifndef LLAVA_RPC_GRPC_SERVER_H_
#define LLAVA_RPC_GRPC_SERVER_H_

#include <grpcpp/server.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "rpc/tls_files.h"

namespace llava::rpc {

struct GrpcOptions {
  std::string listen;  // HOST:PORT; port 0 picks one
  TlsFiles tls;
  std::int64_t max_message_bytes = std::int64_t{64} << 20;
  std::int64_t memory_bytes = std::int64_t{1} << 30;  // of all messages that are being received
  Duration keepalive_min_interval = std::chrono::seconds(10);
  Duration connection_idle_timeout = std::chrono::minutes(30);
  bool reflection = true;
  std::vector<std::string> service_names = {"llava.v1.ChatService"};  // whose health is told
};

// Owned by the app. Thread-safe.
class GrpcServer {
 public:
  // Starts to listen. The services outlive the server. UNAVAILABLE when the address cannot be
  // bound, INVALID_ARGUMENT when the TLS files are no good.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const GrpcOptions& options, const std::vector<grpc::Service*>& services);
  ~GrpcServer() { Stop(TimePoint()); }

  int port() const { return port_; }

  // What grpc.health.v1 says of the server and of each service.
  void SetServing(bool serving);

  // Takes no new connections; calls that are left after `deadline` are cancelled. Returns when the
  // last one has ended.
  void Stop(TimePoint deadline);

 private:
  GrpcServer(std::unique_ptr<grpc::Server> server, int port, std::vector<std::string> names)
      : server_(std::move(server)), port_(port), names_(std::move(names)) {}

  const std::unique_ptr<grpc::Server> server_;
  const int port_;
  const std::vector<std::string> names_;
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_GRPC_SERVER_H_
