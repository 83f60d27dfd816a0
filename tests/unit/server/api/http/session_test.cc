// Connections as they are on the wire: a real server, real sockets.
#include "server/api/http/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/gate.h"
#include "base/mutex.h"
#include "base/utf8_stream.h"
#include "server/api/http/awaiting.h"
#include "server/api/http/router.h"
#include "server/api/http/server.h"

namespace llava::api {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A client that writes what no library would.
class Client {
 public:
  explicit Client(int port) : socket_(context_) {
    const auto address = asio::ip::make_address("127.0.0.1");
    socket_.connect({address, static_cast<asio::ip::port_type>(port)});
  }
  void Send(const std::string& text) { asio::write(socket_, asio::buffer(text)); }
  // Waits for so many bytes, or for `until` to come.
  std::string Read(const std::string& until) {
    std::string text;
    char c = 0;
    boost::system::error_code error;
    while (text.find(until) == text.npos && asio::read(socket_, asio::buffer(&c, 1), error) == 1) {
      text += c;
    }
    return text;
  }
  // Until the server closes the connection.
  std::string ReadAll() {
    std::string text;
    boost::system::error_code ended;
    asio::read(socket_, asio::dynamic_buffer(text), ended);
    return text;
  }
  void StopSending() { socket_.shutdown(asio::ip::tcp::socket::shutdown_send); }

 private:
  asio::io_context context_;
  asio::ip::tcp::socket socket_;
};

// Opened once, by anybody.
class Door {
 public:
  void Open() {
    std::vector<std::function<void()>> all;
    {
      MutexLock lock(&mutex_);
      open_ = true;
      all = std::exchange(waiting_, {});
    }
    for (const std::function<void()>& go : all) go();
  }
  void WhenOpen(std::function<void()> go) {
    {
      MutexLock lock(&mutex_);
      if (!open_) {
        waiting_.push_back(std::move(go));
        return;
      }
    }
    go();
  }

 private:
  Mutex mutex_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
};

constexpr char kSecond[] = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() : router_(&open_to_all_) {
    router_.Add({http::verb::get, "/hello", std::nullopt,
                 [](HttpExchange& exchange) -> asio::awaitable<void> {
                   HttpResponse response = MakeResponse(http::status::ok, "text/plain", "hello\n");
                   co_await exchange.Send(std::move(response));
                 }});
    router_.Add({http::verb::post, "/echo", std::nullopt,
                 [](HttpExchange& exchange) -> asio::awaitable<void> {
                   HttpResponse response =
                       MakeResponse(http::status::ok, "text/plain",
                                    absl::StrCat("got ", exchange.request().body()));
                   co_await exchange.Send(std::move(response));
                 }});
    // Streams, without its body, until the door opens.
    router_.Add({http::verb::post, "/stream", std::nullopt,
                 [this](HttpExchange& exchange) -> asio::awaitable<void> {
                   exchange.DropBody();
                   HttpResponse head = MakeResponse(http::status::ok, "text/plain", "");
                   co_await exchange.StartStream(std::move(head));
                   std::string chunk = "begun";
                   co_await exchange.SendChunk(std::move(chunk));
                   std::function<void(std::function<void()>)> wait =
                       [this](const std::function<void()>& done) { door_.WhenOpen(done); };
                   co_await WaitFor(exchange.executor(), wait);
                   co_await exchange.EndStream();
                 }});
  }
  // Counts the bytes of a body that it takes in pieces, at most `most_` of them.
  void AddPieces() {
    router_.Add({http::verb::post, "/pieces", std::nullopt,
                 [this](HttpExchange& exchange) -> asio::awaitable<void> {
                   std::size_t bytes = 0;
                   absl::StatusOr<std::string> piece("begin");
                   while (piece.ok() && !piece->empty() && bytes < most_) {
                     piece = co_await exchange.ReadPiece();
                     if (!piece.ok()) break;
                     bytes += piece->size();
                     held_ = std::max(held_, server_->bodies().held());
                   }
                   ended_ = piece.status();
                   HttpResponse response = piece.ok()
                                               ? MakeResponse(http::status::ok, "text/plain",
                                                              absl::StrCat("took ", bytes, "\n"))
                                               : ErrorResponse(piece.status());
                   co_await exchange.Send(std::move(response));
                   gate_.Leave();
                 },
                 /*reads_body=*/true});
    gate_.Enter();
  }
  ~SessionTest() override {
    door_.Open();
    server_->Stop(TimePoint::max());
    io_.Stop();
  }

  void Start(HttpOptions options = {}) {
    options.listen = "127.0.0.1:0";
    server_ = *HttpServer::Start(options, &io_, &router_);
  }

  // All that comes back for `text` until the server closes.
  std::string Answer(const std::string& text) {
    Client client(server_->port());
    client.Send(text);
    client.StopSending();
    return client.ReadAll();
  }

  static int Count(const std::string& text, const std::string& what) {
    int count = 0;
    for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++count;
    return count;
  }

  const rpc::Auth open_to_all_;
  HttpRouter router_;
  IoPool io_{2};
  Door door_;
  std::unique_ptr<HttpServer> server_;
  // Of /pieces.
  std::size_t most_ = std::numeric_limits<std::size_t>::max();
  std::int64_t held_ = 0;
  absl::Status ended_;
  Gate gate_;  // its handler, once
};

TEST_F(SessionTest, ABodyThatIsTakenInPiecesIsNotHeldAsAWhole) {
  AddPieces();
  HttpOptions options;
  options.max_body_bytes = 1 << 20;
  options.max_bodies_bytes = 2 << 20;
  Start(options);
  const std::string body(std::size_t{16} << 20, 'x');
  const std::string answer =
      Answer(absl::StrCat("POST /pieces HTTP/1.1\r\nHost: x\r\nContent-Length: ", body.size(),
                          "\r\n\r\n", body, kSecond));
  EXPECT_THAT(answer, AllOf(HasSubstr(absl::StrCat("took ", body.size())), HasSubstr("hello")));
  EXPECT_GT(held_, 0);
  EXPECT_LE(held_, 512 << 10);
  EXPECT_EQ(server_->bodies().held(), 0);
}

TEST_F(SessionTest, PiecesMayComeInChunks) {
  AddPieces();
  Start();
  const std::string chunk = absl::StrCat("4e20\r\n", std::string(20'000, 'x'), "\r\n");
  std::string body;
  for (int i = 0; i < 50; ++i) body += chunk;
  const std::string answer =
      Answer(absl::StrCat("POST /pieces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                          body, "0\r\n\r\n", kSecond));
  EXPECT_THAT(answer, AllOf(HasSubstr("took 1000000"), HasSubstr("hello")));
}

TEST_F(SessionTest, WhatAHandlerLeavesOfABodyEndsTheConnection) {
  AddPieces();
  most_ = 1000;
  Start();
  const std::string answer =
      Answer(absl::StrCat("POST /pieces HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n",
                          std::string(3'000'000, 'x'), kSecond));
  EXPECT_THAT(answer,
              AllOf(HasSubstr("took "), HasSubstr("Connection: close"), Not(HasSubstr("hello"))));
}

TEST_F(SessionTest, AClientThatStopsInTheMiddleOfPiecesHasGone) {
  AddPieces();
  HttpOptions options;
  options.min_body_rate = 1000;
  options.body_window = std::chrono::milliseconds(200);
  Start(options);
  Client client(server_->port());
  client.Send("POST /pieces HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\nxxx");
  gate_.CloseAndWait(TimePoint::max());
  EXPECT_TRUE(absl::IsCancelled(ended_)) << ended_;
}

TEST_F(SessionTest, OneConnectionManyRequests) {
  Start();
  const std::string answers = Answer(
      "GET /hello HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\n"
      "Content-Length: 3\r\n\r\nabcPOST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
      "chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n" +
      std::string(kSecond));
  EXPECT_EQ(Count(answers, "HTTP/1.1 200 OK"), 4);
  EXPECT_THAT(answers, HasSubstr("got abc"));
  EXPECT_THAT(answers, HasSubstr("got def"));
}

TEST_F(SessionTest, OneEmptyLineBeforeARequestIsPassedOver) {
  Start();
  const std::string hello = "\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
  EXPECT_EQ(Count(Answer(hello + hello + "\r\n" + std::string(kSecond)), "HTTP/1.1 200 OK"), 3);
  Client client(server_->port());
  for (const char* piece :
       {"\r", "\n", "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"}) {
    client.Send(piece);
  }
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 200"));
  for (const char* bad : {"\r\n\r\n", "\rGET ", "\n"}) {
    EXPECT_THAT(Answer(bad + std::string(kSecond)), StartsWith("HTTP/1.1 400")) << bad;
  }
}

// Where a body ends must not be a matter of opinion: one answer, and the connection is over.
TEST_F(SessionTest, NothingIsReadBehindABodyThatHasNoSureEnd) {
  Start();
  for (const char* encoding :
       {"Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip", "Transfer-Encoding: xchunked\r\nContent-Length: 3",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nContent-Length: 3", "Content-Length: 3\r\nContent-Length: 4",
        "Content-Encoding: gzip\r\nContent-Length: 3"}) {
    const std::string answers =
        Answer(absl::StrCat("POST /echo HTTP/1.1\r\nHost: x\r\n", encoding, "\r\n\r\n", kSecond));
    EXPECT_EQ(Count(answers, "HTTP/1.1 "), 1) << encoding << "\n" << answers;
    EXPECT_THAT(answers, StartsWith("HTTP/1.1 4")) << encoding;
    EXPECT_THAT(answers, HasSubstr("Connection: close")) << encoding;
  }
}

TEST_F(SessionTest, HeadsThatAreRefused) {
  Start();
  EXPECT_THAT(Answer("GET /hello HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Answer("GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
              StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Answer("GET /hello HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.0 200"));
  EXPECT_THAT(Answer("GET http://x/hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Answer("GET /hello HTTP/1.1\r\nX: " + std::string(20'000, 'y') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431"));
  EXPECT_TRUE(IsValidUtf8(Answer("GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n")));
}

TEST_F(SessionTest, WhoeverWaitsToBeToldToSendIsTold) {
  Start();
  Client client(server_->port());
  client.Send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n"
      "Connection: close\r\n\r\n");
  EXPECT_EQ(client.Read("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("abc");
  EXPECT_THAT(client.ReadAll(), HasSubstr("got abc"));
}

TEST_F(SessionTest, ABodyOverTheLimitIsRefused) {
  HttpOptions options;
  options.max_body_bytes = 1000;
  Start(options);
  const std::string head = "POST /echo HTTP/1.1\r\nHost: x\r\n";
  EXPECT_THAT(Answer(head + "Content-Length: 1001\r\n\r\n"), StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Answer(head + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'x')),
              StartsWith("HTTP/1.1 413"));
}

// 256 KiB of bodies in all; each connection announces all that one may have.
class BodyMemoryTest : public SessionTest {
 protected:
  BodyMemoryTest() {
    HttpOptions options;
    options.max_body_bytes = 256 << 10;
    options.max_bodies_bytes = 256 << 10;
    options.min_body_rate = 0;
    Start(options);
  }
  static std::string Announce(std::size_t bytes) {
    return absl::StrCat("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ",
                        bytes, "\r\n\r\n");
  }
};

TEST_F(BodyMemoryTest, WhatIsOnlyAnnouncedCostsNothing) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<Client>(server_->port()));
    // Once a client is told to go on, the server waits for its body.
    clients.back()->Send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" +
                         std::string(i % 2 == 0 ? "Content-Length: 262144\r\n\r\n"
                                                : "Transfer-Encoding: chunked\r\n\r\n"));
    clients.back()->Read("\r\n\r\n");
  }
  EXPECT_EQ(server_->bodies().held(), 0);
  EXPECT_THAT(Answer(Announce(3) + "abc"), HasSubstr("got abc"));
}

TEST_F(BodyMemoryTest, ABodyIsGivenBackBeforeItsAnswerEnds) {
  std::vector<std::unique_ptr<Client>> clients;
  const std::string body(100 << 10, 'x');
  for (int i = 0; i < 5; ++i) {  // more than all that there is
    clients.push_back(std::make_unique<Client>(server_->port()));
    clients.back()->Send(absl::StrCat(
        "POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
    EXPECT_THAT(clients.back()->Read("begun"), StartsWith("HTTP/1.1 200")) << i;
  }
  EXPECT_EQ(server_->bodies().held(), 0);
  door_.Open();
}

TEST_F(BodyMemoryTest, NobodyTakesWhatIsLeftForOthers) {
  const std::string answer = Answer(Announce(200 << 10) + std::string(200 << 10, 'x'));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(answer, HasSubstr("Retry-After: 1"));
  EXPECT_THAT(Answer(Announce(100 << 10) + std::string(100 << 10, 'x')), HasSubstr("got xxx"));
}

// A stalled client is let go of although the time for the whole request has hardly begun.
TEST_F(SessionTest, ABodyThatStopsComingIsNotWaitedFor) {
  HttpOptions options;
  options.request_timeout = std::chrono::hours(1);
  options.min_body_rate = 1 << 20;
  options.body_window = std::chrono::milliseconds(100);
  Start(options);
  Client client(server_->port());
  client.Send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegun");
  EXPECT_EQ(client.ReadAll(), "");
}

TEST_F(SessionTest, AnswersAreMarkedAsTheServers) {
  Start();
  const std::string answer =
      Answer("GET /hello HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("X-Request-Id: mine\r\n"));
  EXPECT_THAT(answer, HasSubstr("X-Content-Type-Options: nosniff\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("Access-Control")));
}

TEST_F(SessionTest, BrowsersMayAskForAnyHeaderFromAnAllowedOrigin) {
  HttpOptions options;
  options.cors_origins = {"https://a.example"};
  Start(options);
  const auto ask = [&](const std::string& origin, const std::string& headers) {
    return Answer(absl::StrCat("OPTIONS /echo HTTP/1.1\r\nHost: x\r\nOrigin: ", origin,
                               "\r\nAccess-Control-Request-Method: POST\r\n",
                               "Access-Control-Request-Headers: ", headers, "\r\n\r\n"));
  };
  EXPECT_THAT(ask("https://a.example", "authorization,x-stainless-os"),
              HasSubstr("Access-Control-Allow-Headers: authorization,x-stainless-os\r\n"));
  EXPECT_THAT(ask("https://a.example", "a;b"), Not(HasSubstr("a;b")));
  EXPECT_THAT(ask("https://b.example", "authorization"), Not(HasSubstr("Access-Control-Allow")));
}

}  // namespace
}  // namespace llava::api
