#include "rpc/grpc_server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "grpc/health/v1/health.pb.h"

namespace llava::rpc {
namespace {

constexpr int kMaxPingStrikes = 2;
constexpr int kMaxMetadataBytes = 16 << 10;
// Calls at a time on one connection; RFC 9113 advises against fewer than 100.
constexpr int kMaxStreams = 128;
// Of methods that block. Each of two services lets 64 calls wait; the others are short.
constexpr int kMaxThreads = 160;
// A connection whose peer has silently gone is noticed within about this time.
constexpr int kKeepaliveMs = 60'000;

int Milliseconds(Duration duration) {
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

void Limit(const GrpcOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder->SetResourceQuota(grpc::ResourceQuota("llavad")
                                .Resize(static_cast<std::size_t>(options.memory_bytes))
                                .SetMaxThreads(kMaxThreads));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
  // By estimating the bandwidth gRPC would announce 4 MiB at once, and a client could send as much
  // before its token has been looked at. Without it a connection begins with kFirstWindow, which
  // Newcomers lets pass; when its call asks for a message, a MiB more than was read is granted.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  // A compressed message is inflated before its size is known. The first line refuses calls that
  // announce one, before their message is read; the second never inflates, whatever is announced.
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder->AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, kMaxPingStrikes);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              Milliseconds(options.keepalive_min_interval));
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              Milliseconds(options.handshake_timeout));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                              Milliseconds(options.connection_idle_timeout));
}

std::vector<std::string> Reflected(std::vector<std::string> services) {
  services.push_back("grpc.health.v1.Health");
  services.push_back("grpc.reflection.v1.ServerReflection");
  return services;
}

}  // namespace

GrpcServer::GrpcServer(const GrpcOptions& options, std::unique_ptr<ConnectionAcceptor> acceptor,
                       CallGuard* guard)
    : health_(options.service_names),
      reflection_(Reflected(options.service_names), guard),
      guard_(guard),
      acceptor_(std::move(acceptor)) {}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const GrpcOptions& options, const std::vector<RawService*>& services, CallGuard* guard) {
  ASSIGN_OR_RETURN(auto acceptor, ConnectionAcceptor::Listen(
                                      {.listen = options.listen,
                                       .max_connections = options.max_connections,
                                       .max_per_address = options.max_connections_per_address}));
  auto server = std::unique_ptr<GrpcServer>(new GrpcServer(options, std::move(acceptor), guard));
  RETURN_IF_ERROR(server->Build(options, services));
  return server;
}

absl::Status GrpcServer::Build(const GrpcOptions& options,
                               const std::vector<RawService*>& services) {
  grpc::EnableDefaultHealthCheckService(false);
  grpc::ServerBuilder builder;
  if (options.tls.enabled()) tls_ = std::make_shared<TlsCredentials>(options.tls);
  const std::shared_ptr<grpc::ServerCredentials> credentials =
      tls_ != nullptr ? tls_ : grpc::InsecureServerCredentials();
  using External = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  connections_ =
      builder.experimental().AddExternalConnectionAcceptor(External::FROM_FD, credentials);
  Limit(options, &builder);
  builder.RegisterService(&health_);
  if (options.reflection) {
    // Named, so that the description of the health service is linked and reflection knows it.
    grpc::health::v1::HealthCheckRequest::descriptor();
    builder.RegisterService(&reflection_);
  }
  for (RawService* service : services) builder.RegisterService(service);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    return absl::UnavailableError(absl::StrCat(
        "listen: ", options.listen, ": gRPC does not start, probably for its TLS files"));
  }
  guard_->WhenAuthenticated([this](const std::string& peer) { acceptor_->Prove(peer); });
  const auto hand_over = [this](int fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = acceptor_->listening_fd();
    connection.fd = fd;
    connections_->HandleNewConnection(&connection);
  };
  acceptor_->Start(hand_over, [this] { guard_->waits().EndOverdue(RealClock().Now()); });
  return absl::OkStatus();
}

void GrpcServer::ReplaceTls(const TlsFiles& tls) {
  if (tls_ != nullptr) tls_->Replace(tls);
}

void GrpcServer::Stop(TimePoint deadline) {
  acceptor_->Stop();
  if (server_ == nullptr) return;
  health_.Stop();
  const RealClock clock;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::max(Duration(0), deadline - clock.Now()));
  gpr_timespec when =
      gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(left.count(), GPR_TIMESPAN));
  server_->Shutdown(when);
  server_->Wait();
}

}  // namespace llava::rpc
