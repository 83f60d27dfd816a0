#include "server/api/http/exchange.h"

#include <boost/url/parse.hpp>
#include <boost/url/pct_string_view.hpp>
#include <boost/url/url_view.hpp>
#include <utility>

#include "absl/status/status.h"
#include "base/field_error.h"

namespace llava::api {

namespace http = boost::beast::http;

boost::asio::awaitable<absl::StatusOr<std::string>> HttpExchange::ReadPiece() {
  co_return std::exchange(request().body(), std::string());
}

HttpResponse MakeResponse(http::status status, absl::string_view content_type, std::string body) {
  HttpResponse response(status, 11);
  response.set(http::field::content_type,
               boost::beast::string_view(content_type.data(), content_type.size()));
  response.body() = std::move(body);
  return response;
}

std::optional<std::string> PathOf(const HttpRequest& request) {
  const boost::beast::string_view target = request.target();
  if (target.starts_with('/')) {
    const boost::beast::string_view path = target.substr(0, target.find('?'));
    const auto encoded = boost::urls::make_pct_string_view(path);
    return encoded.has_value() ? encoded->decode() : std::string(path);
  }
  const auto url = boost::urls::parse_absolute_uri(target);
  if (!url.has_value() || !url->has_authority()) return std::nullopt;
  if (url->scheme_id() != boost::urls::scheme::http &&
      url->scheme_id() != boost::urls::scheme::https) {
    return std::nullopt;
  }
  return url->encoded_path().empty() ? "/" : url->path();
}

std::string HeaderOf(const HttpRequest& request, absl::string_view name) {
  const auto found = request.find(boost::beast::string_view(name.data(), name.size()));
  return found == request.end() ? "" : std::string(found->value());
}

absl::StatusOr<std::string> TenantOfHeader(HttpExchange& exchange) {
  auto tenant = rpc::TenantOf(exchange.caller(), HeaderOf(exchange.request(), "x-tenant"));
  if (absl::IsInvalidArgument(tenant.status())) {
    return FieldError("X-Tenant", tenant.status().message());
  }
  return tenant;
}

}  // namespace llava::api
