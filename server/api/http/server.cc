#include "server/api/http/server.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "rpc/host_port.h"
#include "server/api/http/session.h"

namespace llava::api {

namespace asio = boost::asio;
using asio::ip::tcp;

HttpServer::HttpServer(const HttpOptions& options, IoPool* io, const HttpRouter* router)
    : options_(options),
      io_(io),
      router_(router),
      cors_(options.cors_origins),
      acceptor_(asio::make_strand(io->context())),
      bodies_(options.max_bodies_bytes) {}

HttpServer::~HttpServer() { LLAVA_CHECK(stopping_.load()); }

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpOptions& options,
                                                              IoPool* io,
                                                              const HttpRouter* router) {
  auto server = std::unique_ptr<HttpServer>(new HttpServer(options, io, router));
  server->stopping_ = true;  // until it listens, so that it may be destroyed
  RETURN_IF_ERROR(CheckOrigins(options.cors_origins));
  if (options.tls.enabled()) RETURN_IF_ERROR(server->ReplaceTls(options.tls));
  RETURN_IF_ERROR(server->Listen());
  server->stopping_ = false;
  LLAVA_CHECK(server->open_.Enter());
  asio::co_spawn(server->acceptor_.get_executor(), server->Accept(), asio::detached);
  return server;
}

absl::Status HttpServer::ReplaceTls(const rpc::TlsFiles& tls) {
  boost::system::error_code error;
  asio::ssl::context context(asio::ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  // Of TLS 1.2 what gRPC speaks, too: forward secrecy and authenticated encryption, no CBC.
  LLAVA_CHECK(SSL_CTX_set_cipher_list(context.native_handle(), "ECDHE+AESGCM:ECDHE+CHACHA20") == 1);
  SSL_CTX_set_options(context.native_handle(), SSL_OP_NO_RENEGOTIATION);
  context.use_certificate_chain(asio::buffer(tls.certificate), error);
  if (!error) context.use_private_key(asio::buffer(tls.key), asio::ssl::context::pem, error);
  if (!error && !tls.client_ca.empty()) {
    context.add_certificate_authority(asio::buffer(tls.client_ca), error);
    context.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
  }
  if (error) return absl::InvalidArgumentError(absl::StrCat("TLS files: ", error.message()));
  // Connections that are open share OpenSSL's part of the old context.
  MutexLock lock(&mutex_);
  tls_ = std::move(context);
  return absl::OkStatus();
}

absl::Status HttpServer::Listen() {
  ASSIGN_OR_RETURN(const rpc::HostPort address, rpc::ParseHostPort(options_.listen));
  boost::system::error_code error;
  tcp::resolver resolver(io_->context());
  const auto found = resolver.resolve(address.host, address.port, error);
  if (!error) {
    const tcp::endpoint endpoint = *found.begin();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  }
  if (error) {
    return absl::UnavailableError(absl::StrCat(options_.listen, ": ", error.message()));
  }
  port_ = acceptor_.local_endpoint().port();
  return absl::OkStatus();
}

asio::awaitable<void> HttpServer::Accept() {
  constexpr auto kPause = std::chrono::milliseconds(50);
  asio::steady_timer pause(acceptor_.get_executor());
  while (!stopping()) {
    auto [error, socket] = co_await acceptor_.async_accept(asio::make_strand(io_->context()),
                                                           asio::as_tuple(asio::use_awaitable));
    if (!error) {
      Adopt(std::move(socket));
    } else if (!stopping() && error != asio::error::connection_aborted) {
      // Mostly: out of file descriptors. Closing something is the only cure, and takes a moment.
      CloseAll(false);
      pause.expires_after(kPause);
      co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }
  open_.Leave();
}

void HttpServer::Adopt(tcp::socket socket) {
  boost::system::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  MutexLock lock(&mutex_);
  if (connections_.size() >= static_cast<std::size_t>(options_.max_connections)) return;
  if (!open_.Enter()) return;
  connections_.insert(StartHttpSession(std::move(socket), tls_ ? &*tls_ : nullptr, this));
}

void HttpServer::Forget(const std::shared_ptr<HttpConnection>& connection) {
  {
    MutexLock lock(&mutex_);
    connections_.erase(connection);
  }
  open_.Leave();
}

void HttpServer::CloseAll(bool now) {
  MutexLock lock(&mutex_);
  for (const auto& connection : connections_) connection->Close(now);
}

void HttpServer::Stop(TimePoint deadline) {
  if (stopping_.exchange(true)) return;
  asio::post(acceptor_.get_executor(), [this] {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
  });
  CloseAll(false);
  if (open_.CloseAndWait(deadline)) return;
  CloseAll(true);
  open_.CloseAndWait(TimePoint::max());
}

}  // namespace llava::api
