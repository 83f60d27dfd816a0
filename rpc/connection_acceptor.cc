#include "rpc/connection_acceptor.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "rpc/host_port.h"

namespace llava::rpc {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

// After an accept() that failed. What it lacks comes back when somebody closes something.
constexpr auto kPause = std::chrono::milliseconds(100);
constexpr auto kTick = std::chrono::seconds(1);
// Between two looks at what newcomers send, as long as there are any.
constexpr auto kLook = std::chrono::milliseconds(20);

int OpenSpare() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

}  // namespace

bool ConnectionTable::Add(int fd, const asio::ip::address& peer) {
  const asio::ip::address network = ClientNetwork(peer);
  const auto full = [this] { return static_cast<std::int64_t>(open_.size()) >= most_; };
  if (full()) ForgetClosed(nullptr);
  if (full()) return false;
  if (CountOf(network) >= most_per_address_) ForgetClosed(&network);
  if (CountOf(network) >= most_per_address_) return false;
  open_.push_back({fd, InodeOf(fd), network});
  return true;
}

std::int64_t ConnectionTable::CountOf(const asio::ip::address& peer) const {
  return std::count_if(open_.begin(), open_.end(),
                       [&](const Connection& c) { return c.peer == peer; });
}

void ConnectionTable::ForgetClosed(const asio::ip::address* peer) {
  std::erase_if(open_, [peer](const Connection& c) {
    return (peer == nullptr || c.peer == *peer) && InodeOf(c.fd) != c.inode;
  });
}

ConnectionAcceptor::ConnectionAcceptor(const AcceptorOptions& options)
    : socket_(io_),
      pause_(io_),
      second_(io_),
      look_(io_),
      table_(options.max_connections, options.max_per_address),
      spare_(OpenSpare()) {}

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Listen(
    const AcceptorOptions& options) {
  auto acceptor = std::unique_ptr<ConnectionAcceptor>(new ConnectionAcceptor(options));
  RETURN_IF_ERROR(acceptor->Bind(options.listen));
  return acceptor;
}

absl::Status ConnectionAcceptor::Bind(const std::string& listen) {
  ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(listen));
  boost::system::error_code error;
  tcp::resolver resolver(io_);
  const auto found = resolver.resolve(address.host, address.port, error);
  if (!error) {
    const tcp::endpoint endpoint = *found.begin();
    socket_.open(endpoint.protocol(), error);
    if (!error) socket_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) socket_.bind(endpoint, error);
    if (!error) socket_.listen(asio::socket_base::max_listen_connections, error);
  }
  if (error) {
    return absl::UnavailableError(absl::StrCat("listen: ", listen, ": ", error.message()));
  }
  port_ = socket_.local_endpoint().port();
  return absl::OkStatus();
}

void ConnectionAcceptor::Start(HandOver hand_over, std::function<void()> tick) {
  hand_over_ = std::move(hand_over);
  tick_ = std::move(tick);
  Accept();
  Tick();
  thread_ = std::jthread([this] { io_.run(); });
}

void ConnectionAcceptor::Accept() {
  socket_.async_accept([this](const boost::system::error_code& error, tcp::socket socket) {
    OnAccepted(error, std::move(socket));
  });
}

void ConnectionAcceptor::OnAccepted(const boost::system::error_code& error, tcp::socket socket) {
  if (!socket_.is_open()) return;
  if (error && error != asio::error::connection_aborted) {
    RefuseOne();
    pause_.expires_after(kPause);
    return pause_.async_wait([this](const boost::system::error_code&) {
      if (socket_.is_open()) Accept();
    });
  }
  boost::system::error_code gone;
  const tcp::endpoint peer = error ? tcp::endpoint() : socket.remote_endpoint(gone);
  if (!error && !gone && table_.Add(socket.native_handle(), peer.address())) {
    socket.set_option(tcp::no_delay(true), gone);
    socket.non_blocking(true, gone);
    const int fd = socket.release(gone);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    newcomers_.Add(fd, peer);
    if (!looks_) WatchNewcomers();
    hand_over_(fd);
  }
  Accept();
}

// Without a free descriptor nobody can be accepted, and so nobody told: the spare one is given up
// for the moment that it takes to close on the client that waits longest.
void ConnectionAcceptor::RefuseOne() {
  if (spare_ >= 0) ::close(std::exchange(spare_, -1));
  boost::system::error_code ignored;
  socket_.non_blocking(true, ignored);
  tcp::socket refused(io_);
  socket_.accept(refused, ignored);
  refused.close(ignored);
  spare_ = OpenSpare();
}

void ConnectionAcceptor::Tick() {
  second_.expires_after(kTick);
  second_.async_wait([this](const boost::system::error_code& error) {
    if (error || !socket_.is_open()) return;
    tick_();
    Tick();
  });
}

void ConnectionAcceptor::WatchNewcomers() {
  looks_ = true;
  look_.expires_after(kLook);
  look_.async_wait([this](const boost::system::error_code& error) {
    looks_ = false;
    if (error || !socket_.is_open()) return;
    newcomers_.Look(clock_.Now());
    if (!newcomers_.empty()) WatchNewcomers();
  });
}

void ConnectionAcceptor::Stop() {
  asio::post(io_, [this] {
    boost::system::error_code ignored;
    socket_.close(ignored);
    pause_.cancel();
    second_.cancel();
    look_.cancel();
  });
  if (thread_.joinable()) thread_.join();
  if (spare_ >= 0) ::close(std::exchange(spare_, -1));
}

}  // namespace llava::rpc
