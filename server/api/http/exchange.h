// One HTTP request and the way to answer it: what a route's handler sees.
#ifndef LLAVA_SERVER_API_HTTP_EXCHANGE_H_
#define LLAVA_SERVER_API_HTTP_EXCHANGE_H_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rpc/auth.h"
#include "server/api/http/body_budget.h"

namespace llava::api {

using HttpRequest = boost::beast::http::request<boost::beast::http::string_body>;
using HttpResponse = boost::beast::http::response<boost::beast::http::string_body>;

// Belongs to a connection and is used in its strand only. Either Send once, or StartStream, any
// number of SendChunk, and EndStream. They return false when the client cannot be reached any more.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  virtual HttpRequest& request() = 0;
  virtual const std::string& request_id() const = 0;
  virtual const rpc::Caller& caller() const = 0;
  virtual const BodyOwner& owner() const = 0;  // whose token it came with, and from where
  virtual boost::asio::any_io_executor executor() = 0;

  // The next piece of the body, for a route that reads it so (HttpRoute); of other requests all of
  // it. Empty: there is no more. CANCELLED: the client has gone, and gets no answer; other errors
  // say what is wrong, and the connection ends with the answer.
  virtual boost::asio::awaitable<absl::StatusOr<std::string>> ReadPiece();

  // The request's body is not needed any more: its memory is free, for other requests too, while
  // the answer is made.
  virtual void DropBody() = 0;

  // Connection and length headers are added.
  virtual boost::asio::awaitable<bool> Send(HttpResponse response) = 0;

  // The body comes in chunks, each of which reaches the client at once.
  virtual boost::asio::awaitable<bool> StartStream(HttpResponse head) = 0;
  virtual boost::asio::awaitable<bool> SendChunk(std::string chunk) = 0;
  virtual boost::asio::awaitable<bool> EndStream() = 0;

  // `on_gone` is called once if the client closes the connection before the handler returns.
  virtual void WatchClient(std::function<void()> on_gone) = 0;
};

// A response with a body; 200 unless another status is set.
HttpResponse MakeResponse(boost::beast::http::status status, absl::string_view content_type,
                          std::string body);

// The path of the target, decoded and without query: of a path, or of a whole http(s) URL. Nothing
// when the target is neither.
std::optional<std::string> PathOf(const HttpRequest& request);

// The value of a header, empty when absent.
std::string HeaderOf(const HttpRequest& request, absl::string_view name);

// Whom a request is accounted to: its token, or the tenant in its header X-Tenant. Errors of
// rpc::TenantOf, with the header as their field where the name is wrong.
absl::StatusOr<std::string> TenantOfHeader(HttpExchange& exchange);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_EXCHANGE_H_
