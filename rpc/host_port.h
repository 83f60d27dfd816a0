// "HOST:PORT", "[IPv6]:PORT" or ":PORT" (every address).
#ifndef LLAVA_RPC_HOST_PORT_H_
#define LLAVA_RPC_HOST_PORT_H_

#include <boost/asio/ip/address.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::rpc {

struct HostPort {
  std::string host;
  std::string port;
};

// Whether it can be the name of a host or its IPv4 address: letters, digits, '.', '-' and '_'; of
// digits and '.' alone it is an address, each part of which is in its range.
bool IsHostName(absl::string_view text);

// Whether it is "[IPv6]".
bool IsBracketedIpv6(absl::string_view text);

// INVALID_ARGUMENT unless it is one of the three forms with a port in [0, 65535].
absl::StatusOr<HostPort> ParseHostPort(absl::string_view text);

// Of a server that is to be called: HOST:PORT or [IPv6]:PORT with a port in [1, 65535].
absl::StatusOr<HostPort> ParseServer(absl::string_view text);

// What one client usually has: an IPv4 address (also of one that is mapped into IPv6), or the /64
// network of an IPv6 address, as its first address.
boost::asio::ip::address ClientNetwork(const boost::asio::ip::address& address);

}  // namespace llava::rpc

#endif  // LLAVA_RPC_HOST_PORT_H_
