#include "server/api/http/address_policy.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "rpc/host_port.h"

namespace llava::api {
namespace {

namespace ip = boost::asio::ip;

// IANA IPv4 special-purpose address registry, multicast and reserved.
constexpr std::array kSpecialV4 = {
    "0.0.0.0/8",      "10.0.0.0/8",     "100.64.0.0/10",   "127.0.0.0/8",     "169.254.0.0/16",
    "172.16.0.0/12",  "192.0.0.0/24",   "192.0.2.0/24",    "192.31.196.0/24", "192.52.193.0/24",
    "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",   "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4",    "240.0.0.0/4"};
// Public IPv6 addresses are in here,
constexpr const char* kGlobalV6 = "2000::/3";
// except for these: protocol assignments with Teredo, documentation, 6to4.
constexpr std::array kSpecialV6 = {"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"};

bool Contains(const ip::network_v4& network, const ip::address_v4& address) {
  return ip::network_v4(address, network.prefix_length()).canonical() == network.canonical();
}
bool Contains(const ip::network_v6& network, const ip::address_v6& address) {
  return ip::network_v6(address, network.prefix_length()).canonical() == network.canonical();
}

bool IsPublic(const ip::address_v4& address) {
  return std::none_of(kSpecialV4.begin(), kSpecialV4.end(), [&](const char* network) {
    return Contains(ip::make_network_v4(network), address);
  });
}

bool IsPublic(const ip::address_v6& address) {
  if (!Contains(ip::make_network_v6(kGlobalV6), address)) return false;
  return std::none_of(kSpecialV6.begin(), kSpecialV6.end(), [&](const char* network) {
    return Contains(ip::make_network_v6(network), address);
  });
}

// An IPv4 address in the clothes of IPv6 is judged as what it is.
ip::address Plain(const ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return ip::make_address_v4(ip::v4_mapped, address.to_v6());
  }
  return address;
}

}  // namespace

bool IsPublicAddress(const ip::address& address) {
  const ip::address plain = Plain(address);
  return plain.is_v4() ? IsPublic(plain.to_v4()) : IsPublic(plain.to_v6());
}

absl::StatusOr<AddressPolicy::Host> AddressPolicy::ParseHost(absl::string_view text) {
  Host host;
  absl::string_view name = text;
  host.below = absl::ConsumePrefix(&name, "*.");
  const std::size_t bracket = name.rfind(']');  // [::1]:8080
  const std::size_t colon = name.find(':', bracket == name.npos ? 0 : bracket);
  if (colon != name.npos) {
    const absl::string_view port = name.substr(colon + 1);
    if (!absl::SimpleAtoi(port, &host.port) || host.port < 1 || host.port > 65535) {
      return absl::InvalidArgumentError(absl::StrCat(text, ": expected HOST or HOST:PORT"));
    }
    name = name.substr(0, colon);
  }
  host.name = absl::AsciiStrToLower(name);
  if (!rpc::IsHostName(host.name) && !rpc::IsBracketedIpv6(host.name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(text, ": expected example.org, example.org:8443 or *.example.org"));
  }
  return host;
}

absl::StatusOr<AddressPolicy::Network> AddressPolicy::ParseNetwork(const std::string& text) {
  boost::system::error_code error;
  const ip::network_v4 v4 = ip::make_network_v4(text, error);
  if (!error) return v4;
  const ip::network_v6 v6 = ip::make_network_v6(text, error);
  if (!error) return v6;
  return absl::InvalidArgumentError(
      absl::StrCat(text, ": expected a network, such as 10.1.0.0/16"));
}

absl::StatusOr<AddressPolicy> AddressPolicy::Make(const std::vector<std::string>& hosts,
                                                  const std::vector<std::string>& networks) {
  AddressPolicy policy;
  for (const std::string& text : hosts) {
    ASSIGN_OR_RETURN(Host host, ParseHost(text));
    policy.hosts_.push_back(std::move(host));
  }
  for (const std::string& text : networks) {
    ASSIGN_OR_RETURN(const Network network, ParseNetwork(text));
    policy.networks_.push_back(network);
  }
  return policy;
}

bool AddressPolicy::AllowsHost(absl::string_view host, int port, int own_port) const {
  const std::string name = absl::AsciiStrToLower(host);
  return std::any_of(hosts_.begin(), hosts_.end(), [&](const Host& allowed) {
    if ((allowed.port == 0 ? own_port : allowed.port) != port) return false;
    return allowed.below ? absl::EndsWith(name, "." + allowed.name) : name == allowed.name;
  });
}

bool AddressPolicy::AllowsAddress(const ip::address& address) const {
  if (IsPublicAddress(address)) return true;
  const ip::address plain = Plain(address);
  return std::any_of(networks_.begin(), networks_.end(), [&](const Network& network) {
    if (const auto* v4 = std::get_if<ip::network_v4>(&network)) {
      return plain.is_v4() && Contains(*v4, plain.to_v4());
    }
    return plain.is_v6() && Contains(std::get<ip::network_v6>(network), plain.to_v6());
  });
}

}  // namespace llava::api
