#include "server/api/http/cors.h"

#include <algorithm>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace llava::api {

namespace http = boost::beast::http;

namespace {

// The headers that a page of an allowed origin asks for are allowed: which there are is the
// business of its client library, and none of them does more here than in a request of curl's.
std::string AllowedHeaders(const HttpRequest& request) {
  const std::string asked = HeaderOf(request, "access-control-request-headers");
  const bool good = std::all_of(asked.begin(), asked.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::StrContains("!#$%&'*+-.^_`|~, ", c);
  });
  return good && !asked.empty() ? asked : "Authorization, Content-Type, X-Request-Id, X-Tenant";
}

}  // namespace

absl::Status CheckOrigins(const std::vector<std::string>& origins) {
  for (const std::string& origin : origins) {
    const auto url = boost::urls::parse_uri(origin);
    const bool good = url.has_value() && !url->host().empty() && !url->has_userinfo() &&
                      url->encoded_path().empty() && !url->has_query() && !url->has_fragment();
    if (good || origin == "*") continue;
    return absl::InvalidArgumentError(
        absl::StrCat("cors_origins: ", origin, ": expected * or an origin, https://example.org"));
  }
  return absl::OkStatus();
}

bool Cors::Allows(const std::string& origin) const {
  if (origin.empty()) return false;
  return std::any_of(origins_.begin(), origins_.end(), [&](const std::string& allowed) {
    return allowed == "*" || allowed == origin;
  });
}

std::optional<HttpResponse> Cors::Preflight(const HttpRequest& request) const {
  if (request.method() != http::verb::options ||
      HeaderOf(request, "access-control-request-method").empty() ||
      !Allows(HeaderOf(request, "origin"))) {
    return std::nullopt;
  }
  HttpResponse response(http::status::no_content, 11);
  response.set(http::field::access_control_allow_methods, "GET, POST, DELETE");
  response.set(http::field::access_control_allow_headers, AllowedHeaders(request));
  response.set(http::field::access_control_max_age, "600");
  return response;
}

void Cors::Decorate(const HttpRequest& request, http::response_header<>* head) const {
  if (origins_.empty()) return;
  head->set(http::field::vary, request.method() == http::verb::options
                                   ? "Origin, Access-Control-Request-Headers"
                                   : "Origin");
  const std::string origin = HeaderOf(request, "origin");
  if (!Allows(origin)) return;
  head->set(http::field::access_control_allow_origin, origin);
  head->set(http::field::access_control_expose_headers,
            "X-Request-Id, X-Model-Version, Retry-After");
}

}  // namespace llava::api
