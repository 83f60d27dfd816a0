#include "server/api/http/exchange.h"

#include <utility>

namespace llava::api {

namespace http = boost::beast::http;

HttpResponse MakeResponse(http::status status, absl::string_view content_type, std::string body) {
  HttpResponse response(status, 11);
  response.set(http::field::content_type,
               boost::beast::string_view(content_type.data(), content_type.size()));
  response.body() = std::move(body);
  return response;
}

std::string PathOf(const HttpRequest& request) {
  const std::string target(request.target());
  return target.substr(0, target.find('?'));
}

std::string HeaderOf(const HttpRequest& request, absl::string_view name) {
  const auto found = request.find(boost::beast::string_view(name.data(), name.size()));
  return found == request.end() ? "" : std::string(found->value());
}

}  // namespace llava::api
