// Cross-origin requests: which other sites' pages may call the API from a browser. Off by default:
// without an answer of ours a browser keeps the response from the page.
#ifndef LLAVA_SERVER_API_HTTP_CORS_H_
#define LLAVA_SERVER_API_HTTP_CORS_H_

#include <boost/beast/http/message.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/api/http/exchange.h"

namespace llava::api {

// INVALID_ARGUMENT unless each is "*" or an origin: scheme, host and perhaps port, without a path.
absl::Status CheckOrigins(const std::vector<std::string>& origins);

// Immutable and thread-safe.
class Cors {
 public:
  // "*" stands for every origin. Tokens travel in a header that pages set themselves, never in
  // cookies, so no origin can use what a browser holds for another.
  explicit Cors(std::vector<std::string> origins) : origins_(std::move(origins)) {}

  // The answer to a browser that asks before it sends; nothing when the request is no such question
  // or its origin is not allowed.
  std::optional<HttpResponse> Preflight(const HttpRequest& request) const;

  // What lets the page of an allowed origin read a response.
  void Decorate(const HttpRequest& request, boost::beast::http::response_header<>* head) const;

 private:
  bool Allows(const std::string& origin) const;

  const std::vector<std::string> origins_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_CORS_H_
