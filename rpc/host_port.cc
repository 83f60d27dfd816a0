#include "rpc/host_port.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::rpc {

bool IsHostName(absl::string_view text) {
  // What has no letter is an address, and no name that anybody could look up.
  const bool is_number = std::all_of(text.begin(), text.end(), [](char c) {
    return c == '.' || absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
  in_addr address{};
  if (is_number && inet_aton(std::string(text).c_str(), &address) == 0) return false;
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_';
  });
}

bool IsBracketedIpv6(absl::string_view text) {
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') return false;
  boost::system::error_code error;
  boost::asio::ip::make_address_v6(std::string(text.substr(1, text.size() - 2)), error);
  return !error;
}

absl::StatusOr<HostPort> ParseHostPort(absl::string_view text) {
  const std::size_t colon = text.rfind(':');
  const absl::string_view digits = colon == text.npos ? "" : text.substr(colon + 1);
  int port = -1;
  if (digits.empty() || !absl::ascii_isdigit(static_cast<unsigned char>(digits.front())) ||
      !absl::SimpleAtoi(digits, &port) || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat(text, ": expected HOST:PORT with a port in [0, 65535]"));
  }
  absl::string_view host = text.substr(0, colon);
  if (IsBracketedIpv6(host)) {
    host = host.substr(1, host.size() - 2);
  } else if (!host.empty() && !IsHostName(host)) {
    return absl::InvalidArgumentError(
        absl::StrCat(text, ": expected a name, an address or [IPv6] as the host"));
  }
  return HostPort{host.empty() ? "0.0.0.0" : std::string(host), absl::StrCat(port)};
}

absl::StatusOr<HostPort> ParseServer(absl::string_view text) {
  ASSIGN_OR_RETURN(HostPort server, ParseHostPort(text));
  if (text.front() != ':' && server.port != "0") return server;
  return absl::InvalidArgumentError(
      absl::StrCat(text, ": expected HOST:PORT of a server, with a port in [1, 65535]"));
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
