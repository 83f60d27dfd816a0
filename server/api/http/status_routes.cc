#include "server/api/http/status_routes.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
using boost::asio::awaitable;

constexpr const char* kText = "text/plain; charset=utf-8";
constexpr const char* kExposition = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace

void AddStatusRoutes(const StatusSources& sources, std::optional<Role> role, HttpRouter* router) {
  router->Add(
      {http::verb::get, "/healthz", std::nullopt, [](HttpExchange& exchange) -> awaitable<void> {
         co_await exchange.Send(MakeResponse(http::status::ok, kText, "ok\n"));
       }});
  router->Add({http::verb::get, "/readyz", std::nullopt,
               [ready = sources.ready](HttpExchange& exchange) -> awaitable<void> {
                 const observe::Health::State state = ready();
                 co_await exchange.Send(MakeResponse(
                     state.ready ? http::status::ok : http::status::service_unavailable, kText,
                     state.ready ? "ready\n" : "not ready: " + state.reason + "\n"));
               }});
  router->Add({http::verb::get, "/metrics", role,
               [metrics = sources.metrics](HttpExchange& exchange) -> awaitable<void> {
                 co_await exchange.Send(MakeResponse(http::status::ok, kExposition, metrics()));
               }});
}

}  // namespace llava::api
