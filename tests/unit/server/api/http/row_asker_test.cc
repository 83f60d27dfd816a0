#include "server/api/http/row_asker.h"

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/api/http/awaiting.h"
#include "server/scheduling/admission.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
using boost::asio::awaitable;

class RowAskerTest : public ::testing::Test {
 protected:
  ~RowAskerTest() override { io_.Stop(); }

  void Handle(std::function<awaitable<void>(HttpExchange&)> handle) {
    router_.Add({http::verb::post, "/row", rpc::Role::kChat, std::move(handle)});
  }

  std::function<void()> Ask(std::promise<batches::RowResponse>* said) {
    return MakeRowAsker(&io_, &router_)(
        {.tenant = "ann", .path = "/row", .request_id = "b.1", .body = "{}"},
        [said](batches::RowResponse response) { said->set_value(std::move(response)); });
  }

  const rpc::Auth auth_;
  IoPool io_{1};
  HttpRouter router_{&auth_};
};

TEST_F(RowAskerTest, TheRouteSeesARequestOfTheTenant) {
  Handle([](HttpExchange& exchange) -> awaitable<void> {
    const std::string seen = exchange.caller().name + exchange.request_id() +
                             exchange.request().body() +
                             HeaderOf(exchange.request(), "content-type") +
                             (exchange.caller().may_name_tenants ? "!" : "");
    HttpResponse response = MakeResponse(http::status::ok, "text/plain", seen);
    co_await exchange.Send(std::move(response));
  });
  std::promise<batches::RowResponse> said;
  Ask(&said);
  const batches::RowResponse response = said.get_future().get();
  EXPECT_EQ(response.answer.status, 200);
  EXPECT_EQ(response.answer.body, "annb.1{}application/json");
  EXPECT_FALSE(response.retry_after.has_value());
}

TEST_F(RowAskerTest, ARefusalSaysWhenToComeAgain) {
  Handle([](HttpExchange& exchange) -> awaitable<void> {
    HttpResponse response = ErrorResponse(
        scheduling::WithRetryAfter(absl::ResourceExhaustedError("full"), std::chrono::seconds(3)));
    co_await exchange.Send(std::move(response));
  });
  std::promise<batches::RowResponse> said;
  Ask(&said);
  const batches::RowResponse response = said.get_future().get();
  EXPECT_EQ(response.answer.status, 429);
  EXPECT_EQ(response.retry_after, std::chrono::seconds(3));
}

TEST_F(RowAskerTest, CancellingIsAClientThatGoes) {
  Handle([](HttpExchange& exchange) -> awaitable<void> {
    std::function<void(std::function<void()>)> until_gone = [&](const std::function<void()>& gone) {
      exchange.WatchClient(gone);
    };
    co_await WaitFor(exchange.executor(), until_gone);
    HttpResponse response = ErrorResponse(ClientHasGone());
    co_await exchange.Send(std::move(response));
  });
  std::promise<batches::RowResponse> said;
  const std::function<void()> cancel = Ask(&said);
  cancel();
  cancel();
  EXPECT_EQ(said.get_future().get().answer.status, 499);
}

}  // namespace
}  // namespace llava::api
