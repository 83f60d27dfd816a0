#include "server/api/http/image_fetcher.h"

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
#include <boost/url/url.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/http/client_tls.h"
#include "base/http/host_lookup.h"
#include "base/status_macros.h"
#include "server/api/http/charged_body.h"
#include "server/api/openai/json_body.h"
#include "server/scheduling/admission.h"

namespace llava::api {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::awaitable;
using asio::ip::tcp;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr int kMaxHops = 4;  // three redirects
constexpr std::size_t kMaxUrl = 8192;
constexpr std::uint32_t kMaxHeaderBytes = 16 << 10;
constexpr Duration kRetryWhenFull = std::chrono::seconds(1);

// One hop: where the connection goes and what it asks for.
struct Target {
  boost::urls::url url;
  bool tls = false;
  std::string host;
  std::string service;  // port, or the scheme
  std::string path;     // with the query
};

// An image, or where it is said to be instead.
struct Answer {
  std::string body;
  std::string location;
};

// Nothing that a resolver could read otherwise than the list of hosts was read.
bool IsPlainHost(absl::string_view host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') return true;  // IPv6, parsed
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-';
  });
}

absl::StatusOr<Target> Check(boost::urls::url url, const AddressPolicy& policy) {
  Target target;
  target.tls = url.scheme_id() == boost::urls::scheme::https;
  if (!target.tls && url.scheme_id() != boost::urls::scheme::http) {
    return absl::InvalidArgumentError("expected an http: or https: URL");
  }
  if (url.has_userinfo()) return absl::InvalidArgumentError("expected no user name in the URL");
  target.host = url.host();
  if (!IsPlainHost(target.host)) return absl::InvalidArgumentError("the URL's host is malformed");
  // Boost.URL takes what follows an address, as in 127.0.0.1x, for the path.
  if (!url.encoded_path().empty() && url.encoded_path().front() != '/') {
    return absl::InvalidArgumentError("the URL's host is malformed");
  }
  const int own_port = target.tls ? 443 : 80;
  const int port = url.has_port() ? url.port_number() : own_port;
  if (!policy.AllowsHost(target.host, port, own_port)) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(url.encoded_host_and_port()),
                                                   " is not among the server's image_url_hosts"));
  }
  target.service = std::to_string(port);
  target.path = std::string(url.encoded_target());
  if (target.path.empty() || target.path.front() != '/') target.path.insert(0, "/");
  target.url = std::move(url);
  return target;
}

absl::StatusOr<boost::urls::url> ParseUrl(const std::string& text) {
  if (text.size() <= kMaxUrl) {
    const auto parsed = boost::urls::parse_uri(text);
    if (parsed.has_value()) return boost::urls::url(*parsed);
  }
  return absl::InvalidArgumentError("the URL is malformed");
}

// The place a redirect names, which may be relative. A secure one does not lead to an insecure one.
absl::StatusOr<boost::urls::url> Follow(const Target& from, const std::string& location) {
  const auto reference = boost::urls::parse_uri_reference(location);
  boost::urls::url next;
  if (location.size() > kMaxUrl || reference.has_error() ||
      boost::urls::resolve(from.url, *reference, next).has_error()) {
    return absl::InvalidArgumentError("was redirected to a malformed URL");
  }
  if (from.tls && next.scheme_id() != boost::urls::scheme::https) {
    return absl::InvalidArgumentError("was redirected from https: to an insecure URL");
  }
  return next;
}

absl::Status Failed(beast::error_code error, std::int64_t limit) {
  if (error == http::error::body_limit) {
    return absl::InvalidArgumentError(absl::StrCat("has more than ", limit, " bytes"));
  }
  if (error == beast::error::timeout) return absl::InvalidArgumentError("took too long");
  if (error == boost::system::errc::not_enough_memory) {
    return scheduling::WithRetryAfter(
        absl::ResourceExhaustedError("too many pictures are being fetched"), kRetryWhenFull);
  }
  return absl::InvalidArgumentError(absl::StrCat("cannot be fetched: ", error.message()));
}

// What goes into a co_await has a name first: g++ 12 destroys temporaries there twice.
class Fetching {
 public:
  Fetching(asio::any_io_executor executor, const AddressPolicy* policy, asio::ssl::context* tls,
           TimePoint deadline)
      : executor_(std::move(executor)), policy_(policy), tls_(tls), deadline_(deadline) {}

  // The body is charged to `charge`.
  awaitable<absl::StatusOr<std::string>> Run(const std::string& text, std::int64_t limit,
                                             BodyCharge* charge) {
    charge_ = charge;
    auto url = ParseUrl(text);
    for (int hop = 0; url.ok() && hop < kMaxHops; ++hop) {
      const auto target = Check(*std::move(url), *policy_);
      if (!target.ok()) co_return target.status();
      absl::StatusOr<Answer> answer = co_await Get(*target, limit);
      if (!answer.ok()) co_return answer.status();
      if (answer->location.empty()) co_return std::move(answer->body);
      url = Follow(*target, answer->location);
    }
    if (!url.ok()) co_return url.status();
    co_return absl::InvalidArgumentError("is redirected too often");
  }

 private:
  using Endpoints = std::vector<tcp::endpoint>;

  awaitable<absl::StatusOr<Answer>> Get(const Target& target, std::int64_t limit) {
    absl::StatusOr<Endpoints> endpoints = co_await Resolve(target);
    if (!endpoints.ok()) co_return endpoints.status();
    if (!target.tls) {
      beast::tcp_stream stream(executor_);
      stream.expires_at(deadline_);
      auto [error, peer] = co_await stream.async_connect(*endpoints, kAwait);
      if (error) co_return Failed(error, limit);
      absl::StatusOr<Answer> answer = co_await Exchange(stream, target, limit);
      co_return answer;
    }
    beast::ssl_stream<beast::tcp_stream> stream(executor_, *tls_);
    beast::get_lowest_layer(stream).expires_at(deadline_);
    SSL_set_tlsext_host_name(stream.native_handle(), target.host.c_str());
    stream.set_verify_callback(asio::ssl::host_name_verification(target.host));
    auto [error, peer] = co_await beast::get_lowest_layer(stream).async_connect(*endpoints, kAwait);
    if (error) co_return Failed(error, limit);
    auto [tls_error] = co_await stream.async_handshake(asio::ssl::stream_base::client, kAwait);
    if (tls_error) co_return Failed(tls_error, limit);
    absl::StatusOr<Answer> answer = co_await Exchange(stream, target, limit);
    co_return answer;
  }

  // Where to connect: only when all addresses of the host are allowed.
  awaitable<absl::StatusOr<Endpoints>> Resolve(const Target& target) {
    const std::string host(boost::urls::url_view(target.url).host_address());
    HostLookup lookup = co_await LookUpHost(&executor_, &host, &target.service, deadline_);
    if (lookup.error == beast::error::timeout) co_return Failed(lookup.error, 0);
    if (!lookup.is_known()) {
      co_return absl::InvalidArgumentError(absl::StrCat(target.host, " is not known"));
    }
    for (const tcp::endpoint& endpoint : lookup.endpoints) {
      if (policy_->AllowsAddress(endpoint.address())) continue;
      co_return absl::InvalidArgumentError(
          absl::StrCat(target.host, " has an address that is not public"));
    }
    co_return std::move(lookup.endpoints);
  }

  template <typename Stream>
  awaitable<absl::StatusOr<Answer>> Exchange(Stream& stream, const Target& target,
                                             std::int64_t limit) {
    http::request<http::empty_body> request(http::verb::get, target.path, 11);
    request.set(http::field::host, target.url.encoded_host_and_port());
    request.set(http::field::accept, "image/jpeg, image/png, image/webp, image/bmp");
    request.set(http::field::user_agent, "llavad");
    request.keep_alive(false);
    auto [write_error, written] = co_await http::async_write(stream, request, kAwait);
    if (write_error) co_return Failed(write_error, limit);
    beast::flat_buffer buffer;
    http::response_parser<ChargedBody> parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(static_cast<std::uint64_t>(limit));
    auto [header_error, header] = co_await http::async_read_header(stream, buffer, parser, kAwait);
    if (header_error) co_return Failed(header_error, limit);
    const unsigned status = parser.get().result_int();
    const std::string location(parser.get()[http::field::location]);
    if (status >= 301 && status <= 308 && status != 304 && !location.empty()) {
      co_return Answer{.body = {}, .location = location};
    }
    if (status != 200) {
      co_return absl::InvalidArgumentError(
          absl::StrCat("cannot be fetched: its server answers ", status));
    }
    parser.get().body().charge = std::move(*charge_);
    auto [read_error, read] = co_await http::async_read(stream, buffer, parser, kAwait);
    if (read_error) co_return Failed(read_error, limit);
    *charge_ = std::move(parser.get().body().charge);
    co_return Answer{.body = std::move(parser.get().body().bytes), .location = {}};
  }

  const asio::any_io_executor executor_;
  const AddressPolicy* const policy_;
  asio::ssl::context* const tls_;
  const TimePoint deadline_;
  BodyCharge* charge_ = nullptr;
};

}  // namespace

ImageFetcher::ImageFetcher(FetchOptions options, const Clock* clock)
    : options_(std::move(options)),
      clock_(clock),
      tls_(ClientTls()),
      budget_(options_.max_total_bytes) {}

awaitable<absl::Status> ImageFetcher::Fetch(const asio::any_io_executor& executor,
                                            const BodyOwner& owner, OpenAiRequest* request,
                                            std::vector<BodyCharge>* charges) {
  ChatCall& call = request->call;
  const std::size_t pictures = request->remote.size();
  if (!options_.policy.enabled()) {
    co_return FieldError(call.images[request->remote.front().image].field,
                         "pictures are not fetched from other servers, expected a data: URI");
  }
  if (pictures > static_cast<std::size_t>(options_.max_images)) {
    co_return FieldError("messages",
                         absl::StrCat(pictures, " images, expected at most ", options_.max_images));
  }
  Fetching fetching(executor, &options_.policy, &tls_, clock_->Now() + options_.timeout);
  std::int64_t left = options_.max_request_bytes;
  for (const RemoteImage& remote : request->remote) {
    CallImage& image = call.images[remote.image];
    const std::int64_t limit = std::min(options_.max_image_bytes, left);
    BodyCharge charge(&budget_, owner);
    absl::StatusOr<std::string> fetched = co_await fetching.Run(remote.url, limit, &charge);
    if (absl::IsResourceExhausted(fetched.status())) co_return fetched.status();
    if (!fetched.ok()) {
      co_return FieldError(image.field,
                           absl::StrCat(ShownText(remote.url), ": ", fetched.status().message()));
    }
    left -= static_cast<std::int64_t>(fetched->size());
    charges->push_back(std::move(charge));
    request->image_bytes.push_back(*std::move(fetched));
    image.bytes = request->image_bytes.back();
  }
  co_return absl::OkStatus();
}

}  // namespace llava::api
