// Which handler answers which method and path, and who may ask.
#ifndef LLAVA_SERVER_API_HTTP_ROUTER_H_
#define LLAVA_SERVER_API_HTTP_ROUTER_H_

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "rpc/auth.h"
#include "server/api/http/exchange.h"

namespace llava::api {

struct HttpRoute {
  boost::beast::http::verb method;
  // Or "/a/{name}", "/a/{name}/b": one that has no slash, or "/a/{name*}": everything below /a/.
  // The handler looks at what is there.
  std::string path;
  std::optional<rpc::Role> role;  // nothing: anybody
  std::function<boost::asio::awaitable<void>(HttpExchange&)> handle;
  // The handler is called when the head has come, takes the body with ReadPiece, and bounds it: it
  // is not held in memory as a whole, and has as much time as min_body_rate gives it.
  bool reads_body = false;
};

// An error in the shape of OpenAI's API: {"error": {"message", "type", "param", "code"}}, with the
// status that fits the code and Retry-After when the status says when.
HttpResponse ErrorResponse(const absl::Status& status);
boost::beast::http::status HttpStatusOf(const absl::Status& status);

// CANCELLED, for a client that closed its sending half: it may still read why it has no answer.
absl::Status ClientHasGone();

// Filled before the server starts, constant afterwards.
class HttpRouter {
 public:
  // `auth` outlives the router.
  explicit HttpRouter(const rpc::Auth* auth) : auth_(auth) {}

  void Add(HttpRoute route) { routes_.push_back(std::move(route)); }

  // Null when there is none. REQUIRES: a path without variables.
  const HttpRoute* RouteOf(boost::beast::http::verb method, const std::string& path) const;

  // The route of a request whose body may not be there yet; or the refusal: 404, 405 with Allow,
  // 401, 403. `caller` becomes who asks.
  const HttpRoute* Find(const HttpRequest& request, rpc::Caller* caller,
                        HttpResponse* refusal) const;

 private:
  const rpc::Auth* const auth_;
  std::vector<HttpRoute> routes_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_ROUTER_H_
