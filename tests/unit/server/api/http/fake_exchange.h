// A request without a connection, for tests of routes.
#ifndef LLAVA_TESTS_UNIT_SERVER_API_HTTP_FAKE_EXCHANGE_H_
#define LLAVA_TESTS_UNIT_SERVER_API_HTTP_FAKE_EXCHANGE_H_

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>
#include <utility>

#include "server/api/http/exchange.h"
#include "server/api/http/router.h"

namespace llava::api {

class FakeExchange final : public HttpExchange {
 public:
  FakeExchange(boost::asio::io_context* io, boost::beast::http::verb method,
               const std::string& target)
      : io_(io) {
    request_.method(method);
    request_.target(target);
  }

  HttpRequest& request() override { return request_; }
  const std::string& request_id() const override { return request_id_; }
  const rpc::Caller& caller() const override { return caller_; }
  const BodyOwner& owner() const override { return owner_; }
  boost::asio::any_io_executor executor() override { return io_->get_executor(); }
  void DropBody() override { request_.body().clear(); }

  boost::asio::awaitable<bool> Send(HttpResponse response) override {
    status = response.result_int();
    body = response.body();
    co_return true;
  }
  boost::asio::awaitable<bool> StartStream(HttpResponse head) override {
    status = head.result_int();
    co_return true;
  }
  boost::asio::awaitable<bool> SendChunk(std::string chunk) override {
    body += chunk;
    co_return true;
  }
  boost::asio::awaitable<bool> EndStream() override {
    has_end = true;
    co_return true;
  }
  void WatchClient(std::function<void()>) override {}

  void set_caller(rpc::Caller caller) { caller_ = std::move(caller); }

  // What was sent.
  unsigned status = 0;
  std::string body;
  bool has_end = false;

 private:
  boost::asio::io_context* const io_;
  HttpRequest request_;
  const std::string request_id_ = "r";
  rpc::Caller caller_;
  BodyOwner owner_;
};

// Has the router answer, also where other threads do a part of it: the answer is in the exchange.
inline void Answer(const HttpRouter& router, boost::asio::io_context* io, FakeExchange* exchange) {
  rpc::Caller caller;
  HttpResponse refusal;
  const HttpRoute* const route = router.Find(exchange->request(), &caller, &refusal);
  if (route == nullptr) {
    exchange->status = refusal.result_int();
    return;
  }
  auto work = boost::asio::make_work_guard(*io);
  boost::asio::co_spawn(
      *io,
      [&]() -> boost::asio::awaitable<void> {
        co_await route->handle(*exchange);
        work.reset();
      },
      boost::asio::detached);
  io->run();
}

}  // namespace llava::api

#endif  // LLAVA_TESTS_UNIT_SERVER_API_HTTP_FAKE_EXCHANGE_H_
