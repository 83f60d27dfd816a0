#include "server/api/http/session.h"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <limits>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "rpc/host_port.h"
#include "server/api/http/charged_body.h"
#include "server/api/http/pace.h"
#include "server/api/http/request_head.h"
#include "server/chat/request_id.h"
#include "server/scheduling/admission.h"

namespace llava::api {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

constexpr std::size_t kReadBytes = 16 << 10;
constexpr std::uint32_t kMaxHeaderBytes = 16 << 10;
// What a client may send ahead while its answer is on the way.
constexpr std::size_t kMaxReadAhead = 64 << 10;
// Of a body that is taken in pieces: one has so much, and what one read brings more.
constexpr std::size_t kPiece = 256 << 10;
constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

using PlainStream = beast::tcp_stream;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// The status line and the fields, as they are sent.
std::string HeadText(const http::response_header<>& head) {
  std::ostringstream text;
  text << head;
  return text.str();
}

// Of a request that is not as it should be.
absl::Status StatusOf(beast::error_code error) {
  if (error == http::error::bad_version) {
    return absl::InvalidArgumentError(
        "the request's first line: expected HTTP/1.0 or HTTP/1.1 at its end");
  }
  if (error == http::error::bad_target) {
    return absl::InvalidArgumentError(
        "the request's first line: expected METHOD TARGET HTTP/1.1, with one blank between each");
  }
  if (error != boost::system::errc::not_enough_memory) {
    return absl::InvalidArgumentError(error.message());
  }
  return scheduling::WithRetryAfter(
      absl::UnavailableError("too many bytes of requests are under way, the client's others "
                             "among them"),
      std::chrono::seconds(1));
}

// Rather than that: the connection broke, or the client was too slow.
bool IsGone(beast::error_code error) {
  if (!error || error == boost::system::errc::not_enough_memory) return false;
  return error == http::error::partial_message ||
         error.category() != http::make_error_code(http::error::bad_chunk).category();
}

// What goes into a co_await has a name first: g++ 12 destroys temporaries there twice.
// All members are touched in the strand of the stream only, except by Close.
template <typename Stream>
class Session final : public HttpConnection,
                      public HttpExchange,
                      public std::enable_shared_from_this<Session<Stream>> {
 public:
  template <typename... Args>
  explicit Session(HttpServer* server, Args&&... args)
      : server_(server),
        stream_(std::forward<Args>(args)...),
        wake_(stream_.get_executor(), asio::steady_timer::time_point::max()) {}

  void Start() {
    asio::co_spawn(stream_.get_executor(), Run(this->shared_from_this()), asio::detached);
  }

  void Close(bool now) override {
    asio::post(stream_.get_executor(), [self = this->shared_from_this(), now] {
      self->last_ = true;
      if (now || !self->busy_) beast::get_lowest_layer(self->stream_).close();
    });
  }

  HttpRequest& request() override { return request_; }
  const std::string& request_id() const override { return request_id_; }
  const rpc::Caller& caller() const override { return caller_; }
  const BodyOwner& owner() const override { return owner_; }
  asio::any_io_executor executor() override { return stream_.get_executor(); }
  asio::awaitable<absl::StatusOr<std::string>> ReadPiece() override;
  void DropBody() override;
  asio::awaitable<bool> Send(HttpResponse response) override;
  asio::awaitable<bool> StartStream(HttpResponse head) override;
  asio::awaitable<bool> SendChunk(std::string chunk) override;
  asio::awaitable<bool> EndStream() override;
  void WatchClient(std::function<void()> on_gone) override;

 private:
  using Parser = http::request_parser<ChargedBody>;

  asio::awaitable<void> Run(std::shared_ptr<HttpConnection> self);
  asio::awaitable<bool> Handshake();
  asio::awaitable<bool> WaitForRequest();
  asio::awaitable<bool> WaitForBytes(std::size_t count);
  asio::awaitable<bool> ServeOne();
  asio::awaitable<bool> ServeInPieces(const HttpRoute& route, Parser* parser, Pace* pace);
  asio::awaitable<bool> ReadBody(Parser* parser, Pace* pace);
  asio::awaitable<bool> Continue();
  asio::awaitable<beast::error_code> ReadHead(std::optional<Parser>* parser, Pace* pace);
  asio::awaitable<beast::error_code> Read(Parser* parser, Pace* pace, std::size_t most);
  std::string PeerAddress();
  asio::awaitable<bool> Write(std::string_view head, std::string_view body);
  asio::awaitable<bool> Refuse(HttpResponse refusal);
  HttpResponse BadRequest(beast::error_code error) const;
  asio::awaitable<void> ShutDown();
  void ReadAhead();
  void Decorate(http::response_header<>* head);
  void ExpireAfter(Duration duration) { beast::get_lowest_layer(stream_).expires_after(duration); }

  HttpServer* const server_;
  Stream stream_;
  beast::flat_buffer buffer_{kMaxReadAhead};
  asio::steady_timer wake_;  // cancelled when ReadAhead has something
  bool reading_ = false;     // ReadAhead is under way
  bool gone_ = false;        // the client closed, or the connection broke
  bool busy_ = false;        // between a request's first byte and its answer's last
  bool last_ = false;        // close after this answer
  HttpRequest request_;
  BodyCharge charge_;           // of request_.body()
  Parser* arriving_ = nullptr;  // of a body that is taken in pieces
  Pace* pace_ = nullptr;        // of it
  std::string request_id_;
  rpc::Caller caller_;
  BodyOwner owner_;
  std::function<void()> on_gone_;
};

template <typename Stream>
asio::awaitable<void> Session<Stream>::Run(std::shared_ptr<HttpConnection> self) {
  if (co_await Handshake()) {
    while (co_await WaitForRequest()) {
      busy_ = true;
      const bool should_continue = co_await ServeOne();
      busy_ = false;
      on_gone_ = nullptr;
      DropBody();
      request_ = {};
      if (!should_continue || last_ || server_->stopping()) break;
    }
    if (!gone_) co_await ShutDown();
  }
  beast::get_lowest_layer(stream_).close();
  server_->Forget(self);
}

template <typename Stream>
asio::awaitable<bool> Session<Stream>::Handshake() {
  if constexpr (std::is_same_v<Stream, TlsStream>) {
    ExpireAfter(server_->options().request_timeout);
    auto [error] = co_await stream_.async_handshake(asio::ssl::stream_base::server, kAwait);
    co_return !error;
  }
  co_return true;
}

// For the first byte of the next request. An empty line before it, as some clients send one behind
// a body, is passed over (section 2.2 of RFC 9112): one, since more would be a way to stay for
// ever.
template <typename Stream>
asio::awaitable<bool> Session<Stream>::WaitForRequest() {
  bool should_continue = co_await WaitForBytes(1);
  const auto said = [this](std::size_t i) {
    return static_cast<const char*>(buffer_.data().data())[i];
  };
  if (!should_continue || said(0) != '\r') co_return should_continue;
  should_continue = co_await WaitForBytes(2);
  if (!should_continue || said(1) != '\n') co_return should_continue;
  buffer_.consume(2);
  should_continue = co_await WaitForBytes(1);
  co_return should_continue;
}

// At least `count`, 1 or 2. The first may be long in coming; those of a request may not.
template <typename Stream>
asio::awaitable<bool> Session<Stream>::WaitForBytes(std::size_t count) {
  if (buffer_.size() >= count) co_return !last_;
  if (!reading_) {
    ExpireAfter(server_->options().idle_timeout);
    ReadAhead();
  } else {
    // The read that watched the client has no deadline of its own.
    wake_.expires_after(server_->options().idle_timeout);
  }
  while (reading_) {
    auto [error] = co_await wake_.async_wait(kAwait);
    if (!error && reading_) {
      beast::get_lowest_layer(stream_).close();
      wake_.expires_at(asio::steady_timer::time_point::max());
    }
  }
  wake_.expires_at(asio::steady_timer::time_point::max());
  co_return !gone_ && !last_ && buffer_.size() >= count;
}

// One read that is not tied to a request: it waits for the next one, or notices that the client has
// gone while the answer to the last one is made. It is not repeated when the next request has begun
// to come: that one is read by its own reads, and a stream has one read at a time.
template <typename Stream>
void Session<Stream>::ReadAhead() {
  const std::size_t room = std::min(kReadBytes, kMaxReadAhead - buffer_.size());
  if (reading_ || room == 0) return;
  reading_ = true;
  stream_.async_read_some(buffer_.prepare(room), [this, self = this->shared_from_this()](
                                                     beast::error_code error, std::size_t bytes) {
    reading_ = false;
    buffer_.commit(bytes);
    if (error) {
      gone_ = true;
      if (on_gone_) std::exchange(on_gone_, nullptr)();
    }
    wake_.cancel();
  });
}

template <typename Stream>
void Session<Stream>::WatchClient(std::function<void()> on_gone) {
  on_gone_ = std::move(on_gone);
  beast::get_lowest_layer(stream_).expires_never();
  ReadAhead();
}

template <typename Stream>
asio::awaitable<bool> Session<Stream>::ServeOne() {
  Pace pace(server_->options(), RealClock().Now());
  std::optional<Parser> place;
  beast::error_code error = co_await ReadHead(&place, &pace);
  Parser& parser = *place;
  if (error == http::error::end_of_stream || error == beast::error::timeout) co_return false;
  request_ = HttpRequest(http::request_header<>(parser.get().base()));  // the body follows
  request_id_ = RequestIdOr(HeaderOf(request_, "x-request-id"));
  HttpResponse refusal;
  if (error) {
    refusal = BadRequest(error);
    co_return co_await Refuse(std::move(refusal));
  }
  auto answer = RefuseHead(request_, parser.chunked());
  if (!answer) answer = server_->cors().Preflight(request_);
  if (answer) {
    refusal = *std::move(answer);
    co_return co_await Refuse(std::move(refusal));
  }
  caller_ = {};
  const HttpRoute* route = server_->router().Find(request_, &caller_, &refusal);
  owner_ = {.token = caller_.name, .address = PeerAddress()};
  if (route == nullptr) co_return co_await Refuse(std::move(refusal));
  parser.get().body().charge = BodyCharge(&server_->bodies(), owner_);
  parser.eager(true);
  pace.StartWindow(RealClock().Now());
  if (route->reads_body) co_return co_await ServeInPieces(*route, &parser, &pace);
  const auto most = static_cast<std::uint64_t>(server_->options().max_body_bytes);
  if (parser.content_length().value_or(0) > most) {
    refusal = BadRequest(http::make_error_code(http::error::body_limit));
    co_return co_await Refuse(std::move(refusal));
  }
  parser.body_limit(most);
  const bool whole = co_await ReadBody(&parser, &pace);
  if (!whole) co_return false;
  charge_ = std::move(parser.get().body().charge);
  request_.body() = std::move(parser.get().body().bytes);
  co_await route->handle(*this);
  co_return request_.keep_alive() && !gone_;
}

// What its handler leaves of the body is not read: the connection ends.
template <typename Stream>
asio::awaitable<bool> Session<Stream>::ServeInPieces(const HttpRoute& route, Parser* parser,
                                                     Pace* pace) {
  arriving_ = parser;
  pace_ = pace;
  const bool should_continue = parser->is_done() ? true : co_await Continue();
  if (should_continue) co_await route.handle(*this);
  arriving_ = nullptr;
  pace_ = nullptr;
  co_return should_continue && parser->is_done() && request_.keep_alive() && !gone_;
}

template <typename Stream>
asio::awaitable<absl::StatusOr<std::string>> Session<Stream>::ReadPiece() {
  if (arriving_ == nullptr) co_return std::exchange(request_.body(), std::string());
  if (!arriving_->is_done()) {
    pace_->Restart(RealClock().Now());
    const beast::error_code error = co_await Read(arriving_, pace_, kPiece);
    if (IsGone(error)) co_return ClientHasGone();
    if (error) co_return StatusOf(error);
  }
  co_return std::exchange(arriving_->get().body().bytes, std::string());
}

template <typename Stream>
std::string Session<Stream>::PeerAddress() {
  beast::error_code error;  // when it has gone already
  const auto peer = beast::get_lowest_layer(stream_).socket().remote_endpoint(error);
  return error ? "" : rpc::ClientNetwork(peer.address()).to_string();
}

template <typename Stream>
void Session<Stream>::DropBody() {
  std::string().swap(request_.body());
  charge_ = BodyCharge();
}

template <typename Stream>
asio::awaitable<bool> Session<Stream>::ReadBody(Parser* parser, Pace* pace) {
  if (parser->is_done()) co_return true;
  const bool should_continue = co_await Continue();
  if (!should_continue) co_return false;
  const beast::error_code error = co_await Read(parser, pace, kAll);
  if (!error) co_return true;
  if (error == http::error::partial_message || error == beast::error::timeout) co_return false;
  HttpResponse refusal = BadRequest(error);
  co_return co_await Refuse(std::move(refusal));
}

// For a client that waits until it may send its body.
template <typename Stream>
asio::awaitable<bool> Session<Stream>::Continue() {
  if (!ExpectsContinue(request_)) co_return true;
  co_return co_await Write("HTTP/1.1 100 Continue\r\n\r\n", "");
}

// Into a parser that has read nothing else, once more where the version has to be read as another.
template <typename Stream>
asio::awaitable<beast::error_code> Session<Stream>::ReadHead(std::optional<Parser>* parser,
                                                             Pace* pace) {
  while (true) {
    parser->emplace();
    (*parser)->header_limit(kMaxHeaderBytes);
    (*parser)->body_limit(boost::none);  // its route says
    (*parser)->eager(false);
    const beast::error_code error = co_await Read(&**parser, pace, kAll);
    if (error != http::error::bad_version) co_return error;
    const asio::mutable_buffer read = buffer_.data();
    if (!LowerMinorVersion({static_cast<char*>(read.data()), read.size()})) co_return error;
  }
}

// Up to the end of the header, or, of an eager parser, of the whole request, or until `most` bytes
// of its body are there. Reading and writing
// have one call each, because every call with other types costs seconds of compile time.
template <typename Stream>
asio::awaitable<beast::error_code> Session<Stream>::Read(Parser* parser, Pace* pace,
                                                         std::size_t most) {
  const bool whole = parser->eager();
  const auto has_enough = [&] {
    if (!whole) return parser->is_header_done();
    return parser->is_done() || parser->get().body().bytes.size() >= most;
  };
  while (!has_enough()) {
    beast::get_lowest_layer(stream_).expires_at(pace->deadline());
    auto [error, bytes] = co_await http::async_read_some(stream_, buffer_, *parser, kAwait);
    if (error) co_return error;
    if (whole) pace->Arrived(bytes, RealClock().Now());
  }
  co_return beast::error_code();
}

// Both must live until it ends, which is at the latest after request_timeout.
template <typename Stream>
asio::awaitable<bool> Session<Stream>::Write(std::string_view head, std::string_view body) {
  ExpireAfter(server_->options().request_timeout);
  const std::array<asio::const_buffer, 2> buffers = {asio::buffer(head), asio::buffer(body)};
  auto [error, bytes] = co_await asio::async_write(stream_, buffers, kAwait);
  co_return !error;
}

// 400, or what says which part is too long.
template <typename Stream>
HttpResponse Session<Stream>::BadRequest(beast::error_code error) const {
  if (error == http::error::header_limit) {
    HttpResponse refusal = ErrorResponse(absl::InvalidArgumentError(
        "the header has more than " + std::to_string(kMaxHeaderBytes) + " bytes"));
    refusal.result(http::status::request_header_fields_too_large);
    return refusal;
  }
  if (error != http::error::body_limit) return ErrorResponse(StatusOf(error));
  HttpResponse refusal = ErrorResponse(absl::InvalidArgumentError(
      "the body has more than " + std::to_string(server_->options().max_body_bytes) + " bytes"));
  refusal.result(http::status::payload_too_large);
  return refusal;
}

// The rest of a refused request is not read: the connection ends.
template <typename Stream>
asio::awaitable<bool> Session<Stream>::Refuse(HttpResponse refusal) {
  last_ = true;
  co_await Send(std::move(refusal));
  co_return false;
}

template <typename Stream>
void Session<Stream>::Decorate(http::response_header<>* head) {
  head->set("X-Request-Id", request_id_);
  head->set("X-Content-Type-Options", "nosniff");
  head->set(http::field::server, "llavad");
  server_->cors().Decorate(request_, head);
}

template <typename Stream>
asio::awaitable<bool> Session<Stream>::Send(HttpResponse response) {
  if (arriving_ != nullptr && !arriving_->is_done()) last_ = true;
  Decorate(&response.base());
  response.version(request_.version() == 10 ? 10 : 11);
  response.keep_alive(request_.keep_alive() && !last_ && !server_->stopping());
  response.prepare_payload();
  if (request_.method() == http::verb::head) response.body().clear();
  const std::string head = HeadText(response.base());
  co_return co_await Write(head, response.body());
}

template <typename Stream>
asio::awaitable<bool> Session<Stream>::StartStream(HttpResponse response) {
  Decorate(&response.base());
  response.version(request_.version() == 10 ? 10 : 11);
  // HTTP/1.0 knows no chunks: its stream ends with the connection.
  if (request_.version() == 10) last_ = true;
  response.chunked(request_.version() != 10);
  response.keep_alive(request_.keep_alive() && !last_ && !server_->stopping());
  const std::string head = HeadText(response.base());
  co_return co_await Write(head, "");
}

template <typename Stream>
asio::awaitable<bool> Session<Stream>::SendChunk(std::string chunk) {
  if (request_.version() == 10) co_return co_await Write(chunk, "");
  const std::string size = absl::StrCat(absl::Hex(chunk.size()), "\r\n");
  chunk += "\r\n";
  co_return co_await Write(size, chunk);
}

template <typename Stream>
asio::awaitable<bool> Session<Stream>::EndStream() {
  if (request_.version() == 10) co_return true;
  co_return co_await Write("0\r\n\r\n", "");
}

template <typename Stream>
asio::awaitable<void> Session<Stream>::ShutDown() {
  ExpireAfter(std::chrono::seconds(1));
  if constexpr (std::is_same_v<Stream, TlsStream>) {
    if (!reading_) co_await stream_.async_shutdown(kAwait);
  }
  beast::error_code ignored;
  beast::get_lowest_layer(stream_).socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  // What the client still sends is read and dropped, else the answer could be lost with a reset.
  while (!reading_) {
    buffer_.clear();
    auto [error, bytes] = co_await stream_.async_read_some(buffer_.prepare(kReadBytes), kAwait);
    if (error) break;
  }
}

}  // namespace

std::shared_ptr<HttpConnection> StartHttpSession(asio::ip::tcp::socket socket,
                                                 asio::ssl::context* tls, HttpServer* server) {
  if (tls == nullptr) {
    auto session = std::make_shared<Session<PlainStream>>(server, std::move(socket));
    session->Start();
    return session;
  }
  auto session = std::make_shared<Session<TlsStream>>(server, std::move(socket), *tls);
  session->Start();
  return session;
}

}  // namespace llava::api
