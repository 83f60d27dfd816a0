#include "rpc/host_port.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace llava::rpc {

absl::StatusOr<HostPort> ParseHostPort(absl::string_view text) {
  const std::size_t colon = text.rfind(':');
  int port = -1;
  if (colon == text.npos || !absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat(text, ": expected HOST:PORT with a port in [0, 65535]"));
  }
  absl::string_view host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != host.npos) {
    return absl::InvalidArgumentError(absl::StrCat(text, ": expected [IPv6]:PORT"));
  }
  return HostPort{host.empty() ? "0.0.0.0" : std::string(host), absl::StrCat(port)};
}

boost::asio::ip::address ClientNetwork(const boost::asio::ip::address& address) {
  if (address.is_v4()) return address;
  const boost::asio::ip::address_v6 v6 = address.to_v6();
  if (v6.is_v4_mapped()) return make_address_v4(boost::asio::ip::v4_mapped, v6);
  auto bytes = v6.to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), 0);
  return boost::asio::ip::address_v6(bytes);
}

}  // namespace llava::rpc
