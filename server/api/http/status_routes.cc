#include "server/api/http/status_routes.h"

#include <utility>

#include "server/observe/open_metrics.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
using boost::asio::awaitable;

constexpr const char* kText = "text/plain; charset=utf-8";
constexpr const char* kExposition = "text/plain; version=0.0.4; charset=utf-8";

HttpResponse ReadyResponse(const observe::Health::State& state) {
  if (state.ready) return MakeResponse(http::status::ok, kText, "ready\n");
  return MakeResponse(http::status::service_unavailable, kText,
                      "not ready: " + state.reason + "\n");
}

}  // namespace

// Responses have names: g++ 12 destroys temporaries of a co_await expression twice.
void AddStatusRoutes(const StatusSources& sources, std::optional<rpc::Role> role,
                     HttpRouter* router) {
  router->Add(
      {http::verb::get, "/healthz", std::nullopt, [](HttpExchange& exchange) -> awaitable<void> {
         HttpResponse response = MakeResponse(http::status::ok, kText, "ok\n");
         co_await exchange.Send(std::move(response));
       }});
  router->Add({http::verb::get, "/readyz", std::nullopt,
               [ready = sources.ready](HttpExchange& exchange) -> awaitable<void> {
                 HttpResponse response = ReadyResponse(ready());
                 co_await exchange.Send(std::move(response));
               }});
  router->Add({http::verb::get, "/metrics", role,
               [metrics = sources.metrics](HttpExchange& exchange) -> awaitable<void> {
                 const bool open =
                     observe::WantsOpenMetrics(HeaderOf(exchange.request(), "accept"));
                 HttpResponse response =
                     MakeResponse(http::status::ok, open ? observe::kOpenMetricsType : kExposition,
                                  metrics(open));
                 co_await exchange.Send(std::move(response));
               }});
}

}  // namespace llava::api
