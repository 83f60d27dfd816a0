// The gRPC side of the daemon: port, credentials, limits, health and reflection. What a client
// without a token can cost is bounded here and in CallGuard.
#ifndef LLAVA_RPC_GRPC_SERVER_H_
#define LLAVA_RPC_GRPC_SERVER_H_

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "rpc/call_guard.h"
#include "rpc/connection_acceptor.h"
#include "rpc/health_service.h"
#include "rpc/raw_service.h"
#include "rpc/reflection_service.h"
#include "rpc/tls_credentials.h"
#include "rpc/tls_files.h"

namespace llava::rpc {

struct GrpcOptions {
  std::string listen;  // HOST:PORT; port 0 picks one
  TlsFiles tls;
  std::int64_t max_message_bytes = std::int64_t{64} << 20;
  std::int64_t memory_bytes = std::int64_t{1} << 30;  // of all messages that are being received
  Duration keepalive_min_interval = std::chrono::seconds(10);
  Duration connection_idle_timeout = std::chrono::minutes(30);
  // From a connection's begin until TLS is done and the client has said hello in HTTP/2.
  Duration handshake_timeout = std::chrono::seconds(10);
  std::int64_t max_connections = 4096;
  std::int64_t max_connections_per_address = 256;
  bool reflection = true;
  // Those that health and reflection tell of.
  std::vector<std::string> service_names = {"llava.v1.ChatService", "llava.v1.ModelService",
                                            "llava.v1.FeedbackService"};
};

// Owned by the app. Thread-safe.
class GrpcServer {
 public:
  // Starts to listen. The services and the guard outlive the server. UNAVAILABLE when the address
  // cannot be bound or the TLS files are no good, INVALID_ARGUMENT for a malformed address.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcOptions& options,
                                                           const std::vector<RawService*>& services,
                                                           CallGuard* guard);
  ~GrpcServer() { Stop(TimePoint()); }

  int port() const { return acceptor_->port(); }

  // What grpc.health.v1 says of the server and of each service.
  void SetServing(bool serving) { health_.SetServing(serving); }

  // For connections that come from now on. REQUIRES: `tls` is as enabled, and asks clients for
  // certificates, as at the start.
  void ReplaceTls(const TlsFiles& tls);

  // Takes no new connections; calls that are left after `deadline` are cancelled. Returns when the
  // last one has ended.
  void Stop(TimePoint deadline);

 private:
  GrpcServer(const GrpcOptions& options, std::unique_ptr<ConnectionAcceptor> acceptor,
             CallGuard* guard);
  absl::Status Build(const GrpcOptions& options, const std::vector<RawService*>& services);

  HealthService health_;
  ReflectionService reflection_;
  CallGuard* const guard_;
  std::shared_ptr<TlsCredentials> tls_;  // null: plain text
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections_;
  const std::unique_ptr<ConnectionAcceptor> acceptor_;
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_GRPC_SERVER_H_
