#include "server/api/http/row_asker.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "base/check.h"

namespace llava::api {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::awaitable;

// A request without a connection. Used in its strand, but for Cancel.
class RowExchange final : public HttpExchange, public std::enable_shared_from_this<RowExchange> {
 public:
  RowExchange(IoPool* io, batches::RowCall call, std::function<void(batches::RowResponse)> done)
      : executor_(asio::make_strand(io->context())),
        request_id_(std::move(call.request_id)),
        caller_{.name = call.tenant, .may_name_tenants = false},
        owner_{.token = call.tenant, .address = ""},
        done_(std::move(done)) {
    request_.method(http::verb::post);
    request_.target(call.path);
    request_.set(http::field::content_type, "application/json");
    request_.body() = std::move(call.body);
  }

  void Start(const HttpRoute* route) {
    asio::co_spawn(executor_, Run(shared_from_this(), route), asio::detached);
  }

  // Any thread.
  void Cancel() {
    asio::post(executor_, [self = shared_from_this()] {
      self->is_cancelled_ = true;
      if (self->on_gone_) std::exchange(self->on_gone_, nullptr)();
    });
  }

  HttpRequest& request() override { return request_; }
  const std::string& request_id() const override { return request_id_; }
  const rpc::Caller& caller() const override { return caller_; }
  const BodyOwner& owner() const override { return owner_; }
  asio::any_io_executor executor() override { return executor_; }
  void DropBody() override { std::string().swap(request_.body()); }

  awaitable<bool> Send(HttpResponse response) override {
    response_ = std::move(response);
    co_return true;
  }

  // A row's answer is whole.
  awaitable<bool> StartStream(HttpResponse) override { co_return false; }
  awaitable<bool> SendChunk(std::string) override { co_return false; }
  awaitable<bool> EndStream() override { co_return false; }

  void WatchClient(std::function<void()> on_gone) override {
    on_gone_ = std::move(on_gone);
    if (is_cancelled_) std::exchange(on_gone_, nullptr)();
  }

 private:
  static awaitable<void> Run(std::shared_ptr<RowExchange> self, const HttpRoute* route) {
    co_await route->handle(*self);
    self->on_gone_ = nullptr;
    batches::RowResponse response{.answer = {.status = static_cast<int>(self->response_.result()),
                                             .body = std::move(self->response_.body())},
                                  .retry_after = std::nullopt};
    const auto field = self->response_.find(http::field::retry_after);
    int seconds = 0;
    if (field != self->response_.end() &&
        absl::SimpleAtoi({field->value().data(), field->value().size()}, &seconds)) {
      response.retry_after = std::chrono::seconds(seconds);
    }
    self->done_(std::move(response));
  }

  const asio::any_io_executor executor_;
  const std::string request_id_;
  const rpc::Caller caller_;
  const BodyOwner owner_;
  const std::function<void(batches::RowResponse)> done_;
  HttpRequest request_;
  HttpResponse response_;
  std::function<void()> on_gone_;
  bool is_cancelled_ = false;
};

}  // namespace

batches::RowAsker MakeRowAsker(IoPool* io, const HttpRouter* router) {
  return [io, router](batches::RowCall call, std::function<void(batches::RowResponse)> done) {
    const HttpRoute* const route = router->RouteOf(http::verb::post, call.path);
    LLAVA_CHECK(route != nullptr);
    const auto exchange = std::make_shared<RowExchange>(io, std::move(call), std::move(done));
    exchange->Start(route);
    return [exchange] { exchange->Cancel(); };
  };
}

}  // namespace llava::api
