#include "server/api/http/router.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "server/chat/api_error.h"
#include "server/scheduling/admission.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;

// Of no standard, but many servers say it.
constexpr auto kClientClosedRequest = static_cast<http::status>(499);

const char* TypeOf(http::status status) {
  switch (status) {
    case http::status::unauthorized:
      return "authentication_error";
    case http::status::forbidden:
      return "permission_error";
    case http::status::not_found:
      return "not_found_error";
    case http::status::too_many_requests:
      return "rate_limit_error";
    default:
      return static_cast<int>(status) < 500 ? "invalid_request_error" : "server_error";
  }
}

bool Matches(const std::string& route, const std::string& path) {
  const std::size_t variable = route.find('{');
  if (variable == route.npos) return route == path;
  const std::size_t end = route.find('}');
  const std::string suffix = route.substr(end + 1);
  if (path.size() <= variable + suffix.size() || !path.starts_with(route.substr(0, variable)) ||
      !path.ends_with(suffix)) {
    return false;
  }
  const bool is_deep = route[end - 1] == '*';
  return is_deep || path.find('/', variable) >= path.size() - suffix.size();
}

boost::json::value TextOrNull(const std::string& text) {
  if (text.empty()) return nullptr;
  return boost::json::value(text);
}

}  // namespace

http::status HttpStatusOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return http::status::ok;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return http::status::bad_request;
    case absl::StatusCode::kUnauthenticated:
      return http::status::unauthorized;
    case absl::StatusCode::kPermissionDenied:
      return http::status::forbidden;
    case absl::StatusCode::kNotFound:
      return http::status::not_found;
    case absl::StatusCode::kResourceExhausted:
      return http::status::too_many_requests;
    case absl::StatusCode::kDeadlineExceeded:
      return http::status::gateway_timeout;
    case absl::StatusCode::kCancelled:
      return kClientClosedRequest;
    case absl::StatusCode::kUnimplemented:
      return http::status::not_implemented;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kFailedPrecondition:
      return http::status::service_unavailable;
    default:
      return http::status::internal_server_error;
  }
}

absl::Status ClientHasGone() {
  return absl::CancelledError(
      "a client that closes its sending half counts as gone: keep it open until the answer is "
      "here");
}

HttpResponse ErrorResponse(const absl::Status& status) {
  const http::status code = HttpStatusOf(status);
  boost::json::object error;
  error["message"] = MessageOf(status);
  error["type"] = TypeOf(code);
  error["param"] = TextOrNull(FieldOf(status));
  error["code"] = ReasonOf(status);
  HttpResponse response =
      MakeResponse(code, "application/json",
                   boost::json::serialize(boost::json::object{{"error", std::move(error)}}));
  if (const auto delay = scheduling::RetryAfter(status)) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(*delay).count();
    response.set(http::field::retry_after, std::to_string(seconds));
  }
  if (code == kClientClosedRequest) response.reason("Client Closed Request");
  if (code == http::status::unauthorized) {
    response.set(http::field::www_authenticate, "Bearer");
  }
  return response;
}

const HttpRoute* HttpRouter::RouteOf(http::verb method, const std::string& path) const {
  for (const HttpRoute& route : routes_) {
    if (route.method == method && route.path == path) return &route;
  }
  return nullptr;
}

const HttpRoute* HttpRouter::Find(const HttpRequest& request, rpc::Caller* caller,
                                  HttpResponse* refusal) const {
  const std::string path = PathOf(request).value_or("*");
  std::string allowed;
  const HttpRoute* found = nullptr;
  for (const HttpRoute& route : routes_) {
    if (!Matches(route.path, path)) continue;
    const bool head = request.method() == http::verb::head && route.method == http::verb::get;
    if (route.method == request.method() || head) found = &route;
    absl::StrAppend(&allowed, allowed.empty() ? "" : ", ", std::string(to_string(route.method)));
  }
  if (found == nullptr && allowed.empty()) {
    *refusal = ErrorResponse(
        absl::NotFoundError(absl::StrCat(Shortened(path), ": there is no such path")));
    return nullptr;
  }
  if (found == nullptr) {
    *refusal = ErrorResponse(absl::InvalidArgumentError(
        absl::StrCat(Shortened(path), ": expected the method ", allowed)));
    refusal->result(http::status::method_not_allowed);
    refusal->set(http::field::allow, allowed);
    return nullptr;
  }
  if (!found->role.has_value()) return found;
  auto known = auth_->Check(HeaderOf(request, "authorization"), *found->role);
  if (!known.ok()) {
    *refusal = ErrorResponse(known.status());
    return nullptr;
  }
  *caller = *std::move(known);
  return found;
}

}  // namespace llava::api
