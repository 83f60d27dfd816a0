// The addresses of a host, within a time.
#ifndef LLAVA_BASE_HTTP_HOST_LOOKUP_H_
#define LLAVA_BASE_HTTP_HOST_LOOKUP_H_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>
#include <string>
#include <vector>

#include "base/clock.h"

namespace llava {

struct HostLookup {
  boost::system::error_code error;  // boost::beast::error::timeout: nobody said in time
  std::vector<boost::asio::ip::tcp::endpoint> endpoints;

  bool is_known() const { return !error && !endpoints.empty(); }
};

// `host` is a name or an address (IPv6 without brackets), `port` a number. A lookup cannot be
// stopped: when the time is up it is left to itself. The arguments outlive the run, and are no
// temporaries of the expression that awaits it: g++ 12 destroys those twice.
boost::asio::awaitable<HostLookup> LookUpHost(const boost::asio::any_io_executor* executor,
                                              const std::string* host, const std::string* port,
                                              TimePoint until);

}  // namespace llava

#endif  // LLAVA_BASE_HTTP_HOST_LOOKUP_H_
