#include "base/http/http_exchange.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <boost/url/parse.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/http/host_lookup.h"
#include "base/status_macros.h"

namespace llava {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::awaitable;
using asio::ip::tcp;
using Endpoints = std::vector<tcp::endpoint>;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::uint64_t kMaxAnswerBytes = std::uint64_t{1} << 20;
constexpr std::uint32_t kMaxHeaderBytes = 64 << 10;

// Of this machine or of a network that is not routed.
bool IsNear(const asio::ip::address& address) {
  if (address.is_loopback()) return true;
  if (address.is_v6()) {
    const auto v6 = address.to_v6();
    if (v6.is_v4_mapped()) return IsNear(asio::ip::make_address_v4(asio::ip::v4_mapped, v6));
    return v6.is_link_local() || (v6.to_bytes()[0] & 0xfe) == 0xfc;
  }
  const auto bytes = address.to_v4().to_bytes();
  return bytes[0] == 10 || (bytes[0] == 172 && (bytes[1] & 0xf0) == 16) ||
         (bytes[0] == 192 && bytes[1] == 168) || (bytes[0] == 169 && bytes[1] == 254);
}

absl::Status Failed(beast::error_code error) {
  if (error == http::error::body_limit) {
    return absl::UnavailableError(absl::StrCat("sent more than ", kMaxAnswerBytes, " bytes"));
  }
  if (error == beast::error::timeout) return absl::DeadlineExceededError("took too long");
  return absl::UnavailableError(error.message());
}

// What goes into a co_await has a name first: g++ 12 destroys temporaries there twice.
class Exchange {
 public:
  Exchange(asio::any_io_executor executor, const HttpTarget* target, const HttpPost* post,
           const Clock* clock)
      : executor_(std::move(executor)), target_(target), post_(post), clock_(clock) {}

  awaitable<HttpResult> Run(asio::ssl::context* tls) {
    Endpoints endpoints;
    result_.failure.status = co_await Resolve(&endpoints);
    if (!result_.failure.status.ok()) co_return std::move(result_);
    if (target_->tls) {
      co_await OverTls(tls, endpoints);
    } else {
      beast::tcp_stream stream(executor_);
      co_await Connect(stream, endpoints);
      if (result_.failure.status.ok()) co_await Talk(stream, stream);
    }
    co_return std::move(result_);
  }

 private:
  bool Fail(beast::error_code error) {
    if (error) result_.failure.status = Failed(error);
    return static_cast<bool>(error);
  }

  void Expire(beast::tcp_stream& stream) {
    stream.expires_at(std::min(clock_->Now() + post_->idle, post_->deadline));
  }

  awaitable<void> OverTls(asio::ssl::context* tls, const Endpoints& endpoints) {
    beast::ssl_stream<beast::tcp_stream> stream(executor_, *tls);
    SSL_set_tlsext_host_name(stream.native_handle(), target_->address.c_str());
    stream.set_verify_callback(asio::ssl::host_name_verification(target_->address));
    beast::tcp_stream& socket = beast::get_lowest_layer(stream);
    co_await Connect(socket, endpoints);
    if (!result_.failure.status.ok()) co_return;
    auto [error] = co_await stream.async_handshake(asio::ssl::stream_base::client, kAwait);
    if (!Fail(error)) co_await Talk(stream, socket);
  }

  awaitable<void> Connect(beast::tcp_stream& socket, const Endpoints& endpoints) {
    Expire(socket);
    auto [error, peer] = co_await socket.async_connect(endpoints, kAwait);
    Fail(error);
  }

  awaitable<absl::Status> Resolve(Endpoints* endpoints) {
    const TimePoint until = std::min(clock_->Now() + post_->idle, post_->deadline);
    HostLookup lookup = co_await LookUpHost(&executor_, &target_->address, &target_->port, until);
    if (!lookup.is_known()) {
      co_return absl::UnavailableError(absl::StrCat(target_->host, " is not known"));
    }
    for (const tcp::endpoint& endpoint : lookup.endpoints) {
      if (target_->tls || post_->allow_public || IsNear(endpoint.address())) continue;
      co_return absl::PermissionDeniedError(
          absl::StrCat(target_->host,
                       " is neither this machine nor a private address, expected https: or "
                       "allow_plain: true"));
    }
    *endpoints = std::move(lookup.endpoints);
    co_return absl::OkStatus();
  }

  http::request<http::span_body<const char>> Request() const {
    http::request<http::span_body<const char>> request(http::verb::post,
                                                       target_->path + post_->path, 11);
    request.set(http::field::host, target_->authority);
    request.set(http::field::user_agent, post_->user_agent);
    request.set(http::field::content_type, "application/json");
    request.set(http::field::accept, "application/json");
    if (!post_->authorization.empty()) {
      request.set(http::field::authorization, post_->authorization);
    }
    request.keep_alive(false);
    request.body() = beast::span<const char>(post_->body.data(), post_->body.size());
    request.content_length(post_->body.size());
    return request;
  }

  template <typename Stream>
  awaitable<void> Talk(Stream& stream, beast::tcp_stream& socket) {
    const auto request = Request();
    Expire(socket);
    auto [write_error, written] = co_await http::async_write(stream, request, kAwait);
    if (Fail(write_error)) co_return;
    result_.failure.sent = true;
    beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(kMaxAnswerBytes);
    while (!parser.is_done()) {
      Expire(socket);
      auto [error, read] = co_await http::async_read_some(stream, buffer, parser, kAwait);
      if (Fail(error)) co_return;
    }
    Take(parser.get());
  }

  void Take(http::response<http::string_body>& response) {
    HttpAnswer& answer = result_.answer;
    answer.status = static_cast<int>(response.result_int());
    answer.retry_after = std::string(response[http::field::retry_after]);
    answer.rate_limit_reset = std::string(response["x-ratelimit-reset-requests"]);
    const std::string tokens(response["x-ratelimit-reset-tokens"]);
    if (answer.rate_limit_reset.empty()) answer.rate_limit_reset = tokens;
    answer.content_encoding = std::string(response[http::field::content_encoding]);
    answer.location = std::string(response[http::field::location]);
    answer.body = std::move(response.body());
  }

  const asio::any_io_executor executor_;
  const HttpTarget* const target_;
  const HttpPost* const post_;
  const Clock* const clock_;
  HttpResult result_;
};

}  // namespace

absl::StatusOr<HttpTarget> ParseUrl(const std::string& text) {
  const auto wrong = [](absl::string_view what) { return absl::InvalidArgumentError(what); };
  const auto parsed = boost::urls::parse_uri(text);
  if (!parsed.has_value()) return wrong("is no URL, expected one like https://host:port/v1");
  const boost::urls::url_view url = *parsed;
  HttpTarget target;
  target.tls = url.scheme_id() == boost::urls::scheme::https;
  if (!target.tls && url.scheme_id() != boost::urls::scheme::http) {
    return wrong("expected http: or https:");
  }
  if (url.has_userinfo())
    return wrong("expected no user name, keys come from files and the environment");
  if (url.has_query() || url.has_fragment()) return wrong("expected nothing behind the path");
  target.host = url.host();
  target.address = url.host_address();
  if (target.address.empty()) return wrong("expected a host");
  if (!url.encoded_path().empty() && url.encoded_path().front() != '/') {
    return wrong("the host is malformed");
  }
  target.port = url.has_port() ? std::string(url.port()) : (target.tls ? "443" : "80");
  target.authority = std::string(url.encoded_host_and_port());
  target.path = url.encoded_path().empty() ? "/" : std::string(url.encoded_path());
  return target;
}

absl::StatusOr<HttpTarget> ParseTarget(const std::string& base_url) {
  absl::StatusOr<HttpTarget> target = ParseUrl(base_url);
  if (!target.ok()) return Annotate(target.status(), "base_url");
  while (!target->path.empty() && target->path.back() == '/') target->path.pop_back();
  return target;
}

awaitable<HttpResult> PostOnce(const asio::any_io_executor& executor, asio::ssl::context* tls,
                               const HttpTarget* target, const HttpPost* post, const Clock* clock) {
  Exchange exchange(executor, target, post, clock);
  HttpResult result = co_await exchange.Run(tls);
  co_return result;
}

}  // namespace llava
