#include "base/http/client_tls.h"

namespace llava {

namespace ssl = boost::asio::ssl;

ssl::context ClientTls() {
  ssl::context tls(ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_2_VERSION);
  boost::system::error_code ignored;  // without authorities each handshake says so
  tls.set_default_verify_paths(ignored);
  tls.set_verify_mode(ssl::verify_peer);
  return tls;
}

}  // namespace llava
