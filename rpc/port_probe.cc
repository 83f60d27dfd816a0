#include "rpc/port_probe.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <array>
#include <atomic>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "rpc/host_port.h"

namespace llava::rpc {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

std::string Http2Greeting() {
  const std::string empty_settings("\0\0\0\x04\0\0\0\0\0", 9);
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + empty_settings;
}

std::string Http1Greeting() {
  return "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
}

std::string TlsGreeting() {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  &SSL_CTX_free);
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), &SSL_free);
  BIO* out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);  // the connection owns both
  SSL_connect(ssl.get());                             // has said hello and waits
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  return std::string(data, static_cast<std::size_t>(size));
}

// One port: connect, greet, wait for a byte, close, sleep. Used by the probe's thread, except for
// Problem().
class PortProbe::Dialler {
 public:
  Dialler(asio::io_context* io, ProbedPort port, tcp::endpoint endpoint, const Options& options)
      : port_(std::move(port)), endpoint_(endpoint), options_(options), socket_(*io), timer_(*io) {}

  void Dial() {
    socket_ = tcp::socket(socket_.get_executor());
    answered_ = false;
    timer_.expires_after(options_.patience);
    timer_.async_wait([this](const error_code& error) {
      if (!error) Close();  // ends what is under way
    });
    socket_.async_connect(endpoint_,
                          [this](const error_code& error) { error ? Ended() : Greet(); });
  }

  std::string Problem() const {
    if (failures_.load() < options_.tries) return "";
    return absl::StrCat("the ", port_.name, " port ", port_.port, " does not answer");
  }

 private:
  void Greet() {
    asio::async_write(socket_, asio::buffer(port_.greeting),
                      [this](const error_code& error, std::size_t) { error ? Ended() : Listen(); });
  }

  void Listen() {
    socket_.async_read_some(asio::buffer(byte_), [this](const error_code& error, std::size_t) {
      answered_ = !error;
      Ended();
    });
  }

  void Ended() {
    Close();
    failures_ = answered_ ? 0 : failures_ + 1;
    timer_.expires_after(options_.interval);
    timer_.async_wait([this](const error_code& error) {
      if (!error) Dial();
    });
  }

  void Close() {
    error_code ignored;
    socket_.close(ignored);
  }

  const ProbedPort port_;
  const tcp::endpoint endpoint_;
  const Options options_;
  tcp::socket socket_;
  asio::steady_timer timer_;
  std::array<char, 1> byte_{};
  bool answered_ = false;
  std::atomic<int> failures_ = 0;
};

absl::StatusOr<std::unique_ptr<PortProbe>> PortProbe::Start(const std::vector<ProbedPort>& ports,
                                                            const Options& options) {
  auto probe = std::unique_ptr<PortProbe>(new PortProbe);
  for (const ProbedPort& port : ports) {
    ASSIGN_OR_RETURN(const HostPort host, ParseHostPort(port.listen));
    error_code error;
    const auto found = tcp::resolver(probe->io_).resolve(host.host, absl::StrCat(port.port), error);
    if (error) {
      return absl::InvalidArgumentError(absl::StrCat(port.listen, ": ", error.message()));
    }
    tcp::endpoint endpoint = *found.begin();
    if (endpoint.address().is_unspecified()) {
      endpoint.address(endpoint.address().is_v4()
                           ? asio::ip::address(asio::ip::address_v4::loopback())
                           : asio::ip::address_v6::loopback());
    }
    probe->diallers_.push_back(std::make_unique<Dialler>(&probe->io_, port, endpoint, options));
    probe->diallers_.back()->Dial();
  }
  probe->thread_ = std::jthread([p = probe.get()] { p->io_.run(); });
  return probe;
}

PortProbe::~PortProbe() {
  io_.stop();
  if (thread_.joinable()) thread_.join();
}

std::string PortProbe::Problem() const {
  for (const auto& dialler : diallers_) {
    const std::string problem = dialler->Problem();
    if (!problem.empty()) return problem;
  }
  return "";
}

}  // namespace llava::rpc
