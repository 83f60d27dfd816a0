// The HTTP/1.1 server: listens, bounds and times connections, and lets a router answer.
#ifndef LLAVA_SERVER_API_HTTP_SERVER_H_
#define LLAVA_SERVER_API_HTTP_SERVER_H_

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/gate.h"
#include "base/mutex.h"
#include "rpc/tls_files.h"
#include "server/api/http/body_budget.h"
#include "server/api/http/cors.h"
#include "server/api/http/router.h"
#include "server/chat/io_pool.h"

namespace llava::api {

struct HttpOptions {
  std::string listen;  // HOST:PORT; port 0 picks one
  rpc::TlsFiles tls;
  std::int64_t max_body_bytes = std::int64_t{64} << 20;
  // Of all bodies that have arrived and are still needed (BodyBudget); more get 503.
  std::int64_t max_bodies_bytes = std::int64_t{512} << 20;
  // A client that sends its body more slowly, over `body_window`, is disconnected. The window is
  // long enough for a pause of an honest client's network.
  std::int64_t min_body_rate = 16 << 10;  // bytes a second; 0: as slowly as it likes
  Duration body_window = std::chrono::seconds(5);
  std::int64_t max_connections = 16384;
  Duration idle_timeout = std::chrono::seconds(60);
  Duration request_timeout = std::chrono::seconds(30);
  std::vector<std::string> cors_origins;
};

// A connection, seen from the server.
class HttpConnection {
 public:
  virtual ~HttpConnection() = default;
  // Any thread. Ends when the request under way is answered; `now` cuts it off.
  virtual void Close(bool now) = 0;
};

// Owned by the app. Thread-safe.
class HttpServer {
 public:
  // Starts to listen. `io` and `router` outlive the server. UNAVAILABLE when the address cannot be
  // bound; INVALID_ARGUMENT for a malformed address or bad TLS files.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpOptions& options, IoPool* io,
                                                           const HttpRouter* router);
  ~HttpServer();  // REQUIRES: Stop() was called

  int port() const { return port_; }

  // For connections that come from now on. INVALID_ARGUMENT, and nothing changes, when the files
  // are no good. REQUIRES: `tls` is as enabled as at the start.
  absl::Status ReplaceTls(const rpc::TlsFiles& tls);

  // Takes no new connections, closes idle ones, and lets requests finish until `deadline`; then
  // cuts them off. Returns when the last connection is gone.
  void Stop(TimePoint deadline);

  // For connections only.
  const HttpOptions& options() const { return options_; }
  const HttpRouter& router() const { return *router_; }
  const Cors& cors() const { return cors_; }
  bool stopping() const { return stopping_.load(); }
  BodyBudget& bodies() { return bodies_; }
  void Forget(const std::shared_ptr<HttpConnection>& connection);

 private:
  HttpServer(const HttpOptions& options, IoPool* io, const HttpRouter* router);
  absl::Status Listen();
  boost::asio::awaitable<void> Accept();
  void Adopt(boost::asio::ip::tcp::socket socket);
  void CloseAll(bool now);

  const HttpOptions options_;
  IoPool* const io_;
  const HttpRouter* const router_;
  const Cors cors_;
  boost::asio::ip::tcp::acceptor acceptor_;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  BodyBudget bodies_;
  Gate open_;  // the acceptor and each connection
  Mutex mutex_;
  std::optional<boost::asio::ssl::context> tls_ ABSL_GUARDED_BY(mutex_);
  std::set<std::shared_ptr<HttpConnection>> connections_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_SERVER_H_
