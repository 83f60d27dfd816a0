// Which servers the daemon may ask for an image whose URL came from a client. Without it a client
// could have the daemon read what only the daemon can reach (server-side request forgery).
#ifndef LLAVA_SERVER_API_HTTP_ADDRESS_POLICY_H_
#define LLAVA_SERVER_API_HTTP_ADDRESS_POLICY_H_

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::api {

// Whether the address belongs to the public internet: not private, loopback, link-local (which has
// the metadata services of clouds), shared, multicast, reserved or a tunnel into one of these
// (IANA's special-purpose address registries, RFC 6890).
bool IsPublicAddress(const boost::asio::ip::address& address);

// Immutable and thread-safe.
class AddressPolicy {
 public:
  // Nobody may be asked.
  AddressPolicy() = default;

  // `hosts`: "example.org" (the scheme's own port), "example.org:8443", "*.example.org" (every host
  // below it). `networks`: "10.1.0.0/16", whose addresses are allowed although they are not public.
  // INVALID_ARGUMENT names the entry.
  static absl::StatusOr<AddressPolicy> Make(const std::vector<std::string>& hosts,
                                            const std::vector<std::string>& networks);

  bool enabled() const { return !hosts_.empty(); }

  // `own_port` is the scheme's: the one that entries without a port mean.
  bool AllowsHost(absl::string_view host, int port, int own_port) const;
  bool AllowsAddress(const boost::asio::ip::address& address) const;

 private:
  struct Host {
    std::string name;    // in lower case
    bool below = false;  // the hosts below `name` instead of itself
    int port = 0;
  };
  using Network = std::variant<boost::asio::ip::network_v4, boost::asio::ip::network_v6>;

  static absl::StatusOr<Host> ParseHost(absl::string_view text);
  static absl::StatusOr<Network> ParseNetwork(const std::string& text);

  std::vector<Host> hosts_;
  std::vector<Network> networks_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_ADDRESS_POLICY_H_
