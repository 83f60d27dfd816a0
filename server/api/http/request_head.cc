#include "server/api/http/request_head.h"

#include <boost/url/authority_view.hpp>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/http/router.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;

HttpResponse Refusal(http::status code, absl::string_view field, absl::string_view why) {
  HttpResponse refusal = ErrorResponse(FieldError(field, why));
  refusal.result(code);
  return refusal;
}

// Fields whose meaning is lost when there are two: nobody knows which one others have read.
constexpr http::field kOnce[] = {http::field::host, http::field::authorization,
                                 http::field::content_type, http::field::origin};
constexpr const char* kOurOwnOnce[] = {"X-Tenant", "X-Request-Id"};

// The members of a list, which may be spread over several fields of the name.
std::vector<std::string> ListOf(const HttpRequest& head, http::field name) {
  std::vector<std::string> members;
  const auto [begin, end] = head.equal_range(name);
  for (auto field = begin; field != end; ++field) {
    for (const absl::string_view member : absl::StrSplit(AbslView(field->value()), ',')) {
      const absl::string_view stripped = absl::StripAsciiWhitespace(member);
      if (!stripped.empty()) members.push_back(absl::AsciiStrToLower(stripped));
    }
  }
  return members;
}

absl::Status CheckOnce(const HttpRequest& head) {
  const auto check = [](std::size_t count, absl::string_view name) {
    return count <= 1 ? absl::OkStatus()
                      : FieldError(name, absl::StrCat("comes ", count, " times, expected once"));
  };
  for (const http::field name : kOnce) {
    RETURN_IF_ERROR(check(head.count(name), AbslView(to_string(name))));
  }
  for (const char* name : kOurOwnOnce) RETURN_IF_ERROR(check(head.count(name), name));
  return absl::OkStatus();
}

// Section 3.2 of RFC 9112. The host itself is not looked at: there is only one here.
absl::Status CheckHost(const HttpRequest& head) {
  const auto host = head.find(http::field::host);
  if (host == head.end()) {
    return head.version() < 11 ? absl::OkStatus() : FieldError("Host", "is missing, expected once");
  }
  const auto authority = boost::urls::parse_authority(host->value());
  if (authority.has_value() && !authority->has_userinfo()) return absl::OkStatus();
  return FieldError("Host", "expected a host and perhaps a port");
}

// Section 6 of RFC 9112.
std::optional<HttpResponse> RefuseTransferEncoding(const HttpRequest& head, bool chunked) {
  constexpr const char* kName = "Transfer-Encoding";
  if (head.count(http::field::transfer_encoding) == 0) return std::nullopt;
  const std::vector<std::string> codings = ListOf(head, http::field::transfer_encoding);
  if (head.version() < 11) {
    return Refusal(http::status::bad_request, kName, "expected none from a client of HTTP/1.0");
  }
  if (codings.empty() || codings.back() != "chunked" || !chunked) {
    return Refusal(http::status::bad_request, kName,
                   "expected chunked as the last coding, or nobody knows where the body ends");
  }
  if (codings.size() == 1) return std::nullopt;
  return Refusal(http::status::not_implemented, kName, "expected no coding besides chunked");
}

// The server takes a path or, as from a proxy, a whole http(s) URL (section 3.2 of RFC 9112).
absl::Status CheckTarget(const HttpRequest& head) {
  if (head.target() == "*" || PathOf(head).has_value()) return absl::OkStatus();
  return FieldError("the request's target", "expected a path, or an http: or https: URL");
}

}  // namespace

std::optional<HttpResponse> RefuseHead(const HttpRequest& head, bool chunked) {
  if (auto refusal = RefuseTransferEncoding(head, chunked)) return refusal;
  absl::Status status = CheckOnce(head);
  status.Update(CheckHost(head));
  status.Update(CheckTarget(head));
  if (!status.ok()) return ErrorResponse(status);
  for (const std::string& coding : ListOf(head, http::field::content_encoding)) {
    if (coding == "identity") continue;
    HttpResponse refusal =
        Refusal(http::status::unsupported_media_type, "Content-Encoding",
                "expected a body as it is: encoded ones, as by gzip, are not decoded");
    refusal.set(http::field::accept_encoding, "identity");
    return refusal;
  }
  if (head.version() >= 11 && head.count(http::field::expect) > 0 && !ExpectsContinue(head)) {
    return Refusal(http::status::expectation_failed, "Expect", "expected 100-continue");
  }
  return std::nullopt;
}

bool LowerMinorVersion(std::span<char> bytes) {
  constexpr absl::string_view kMajor = " HTTP/1.";
  const absl::string_view text(bytes.data(), bytes.size());
  const absl::string_view line = text.substr(0, text.find("\r\n"));
  if (line.size() == text.size() || line.size() <= kMajor.size()) return false;
  char& minor = bytes[line.size() - 1];
  if (!absl::EndsWith(line.substr(0, line.size() - 1), kMajor)) return false;
  if (minor < '2' || minor > '9') return false;
  minor = '1';
  return true;
}

bool ExpectsContinue(const HttpRequest& head) {
  return head.version() >= 11 && absl::EqualsIgnoreCase(HeaderOf(head, "expect"), "100-continue");
}

}  // namespace llava::api
