#include "server/api/http/page_routes.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "server/api/web/web_files.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
using boost::asio::awaitable;

// Trusted types make markup from text (innerHTML) an error in browsers that know them; the page's
// one policy names its service worker.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types service-worker";

const char* TypeOf(absl::string_view name) {
  if (absl::EndsWith(name, ".html")) return "text/html; charset=utf-8";
  if (absl::EndsWith(name, ".js")) return "text/javascript; charset=utf-8";
  if (absl::EndsWith(name, ".css")) return "text/css; charset=utf-8";
  if (absl::EndsWith(name, ".json")) return "application/json";
  if (absl::EndsWith(name, ".webmanifest")) return "application/manifest+json";
  if (absl::EndsWith(name, ".svg")) return "image/svg+xml";
  return "application/octet-stream";
}

void AddFile(const WebFile& file, std::string path, HttpRouter* router) {
  router->Add({http::verb::get, std::move(path), std::nullopt,
               [&file](HttpExchange& exchange) -> awaitable<void> {
                 HttpResponse response =
                     MakeResponse(http::status::ok, TypeOf(file.name), std::string(file.content));
                 response.set("Content-Security-Policy", kPolicy);
                 response.set("Referrer-Policy", "no-referrer");
                 response.set(http::field::cache_control, "no-cache");
                 co_await exchange.Send(std::move(response));
               }});
}

}  // namespace

void AddPageRoutes(HttpRouter* router) {
  for (const WebFile& file : WebFiles()) {
    AddFile(file, "/" + std::string(file.name), router);
    if (file.name == "index.html") AddFile(file, "/", router);
  }
}

}  // namespace llava::api
