// One POST over HTTP/1.1 or HTTPS, each on a connection of its own. Redirects are not followed.
#ifndef LLAVA_BASE_HTTP_HTTP_EXCHANGE_H_
#define LLAVA_BASE_HTTP_HTTP_EXCHANGE_H_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"

namespace llava {

// Where requests go.
struct HttpTarget {
  bool tls = false;
  std::string host;     // for names and certificates
  std::string address;  // to look up: the host without the brackets of an IPv6 address
  std::string port;
  std::string authority;  // of the Host header
  std::string path;       // what stands before that of a request; empty, or with a slash at first
};

// Of "https://host:port/path". INVALID_ARGUMENT says what is wrong with it, without a word of it:
// it may hold a secret.
absl::StatusOr<HttpTarget> ParseUrl(const std::string& url);

// Of "https://host:port/v1", with no slash at the end of its path. INVALID_ARGUMENT names what is
// wrong with it.
absl::StatusOr<HttpTarget> ParseTarget(const std::string& base_url);

struct HttpPost {
  const char* user_agent;   // the program that asks
  const std::string& path;  // behind the target's
  const std::string& body;
  const std::string& authorization;  // the header's value; empty: none
  bool allow_public = true;          // without TLS to an address that is not of this machine or net
  Duration idle;                     // without a byte
  TimePoint deadline;
};

// The parts of an answer that matter.
struct HttpAnswer {
  int status = 0;
  std::string retry_after{};       // the headers' values; empty when there is none
  std::string rate_limit_reset{};  // of x-ratelimit-reset-requests or -tokens
  std::string content_encoding{};
  std::string location{};
  std::string body{};
};

// What can be told from outside about an exchange that failed.
struct HttpFailure {
  absl::Status status;  // PERMISSION_DENIED: the address is not allowed
  bool sent = false;    // the whole request has gone out, so it may have been answered
};

struct HttpResult {
  HttpAnswer answer;
  HttpFailure failure;  // when it is not OK there is no answer
};

// Answers of more than 1 MiB, of more than the idle time without a byte and those that are not
// finished at the deadline are failures. All arguments outlive the run.
boost::asio::awaitable<HttpResult> PostOnce(const boost::asio::any_io_executor& executor,
                                            boost::asio::ssl::context* tls,
                                            const HttpTarget* target, const HttpPost* post,
                                            const Clock* clock);

}  // namespace llava

#endif  // LLAVA_BASE_HTTP_HTTP_EXCHANGE_H_
