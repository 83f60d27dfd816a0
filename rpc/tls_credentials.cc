#include "rpc/tls_credentials.h"

#include <grpc/grpc.h>

#include <utility>

#include "base/check.h"

namespace llava::rpc {
namespace {

grpc_ssl_client_certificate_request_type Request(const TlsFiles& files) {
  return files.client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                 : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
}

}  // namespace

TlsCredentials::TlsCredentials(const TlsFiles& files)
    : files_(files),
      credentials_(grpc_ssl_server_credentials_create_with_options(
          grpc_ssl_server_credentials_create_options_using_config_fetcher(Request(files), &Fetch,
                                                                          this))) {
  LLAVA_CHECK(files.enabled());
}

TlsCredentials::~TlsCredentials() { grpc_server_credentials_release(credentials_); }

void TlsCredentials::Replace(const TlsFiles& files) {
  LLAVA_CHECK(files.enabled());
  MutexLock lock(&mutex_);
  files_ = files;
  is_new_ = true;
}

grpc_ssl_certificate_config_reload_status TlsCredentials::Fetch(
    void* self, grpc_ssl_server_certificate_config** config) {
  *config = static_cast<TlsCredentials*>(self)->TakeNew();
  return *config == nullptr ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED
                            : GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
}

grpc_ssl_server_certificate_config* TlsCredentials::TakeNew() {
  MutexLock lock(&mutex_);
  if (!std::exchange(is_new_, false)) return nullptr;
  const grpc_ssl_pem_key_cert_pair pair = {files_.key.c_str(), files_.certificate.c_str()};
  // gRPC insists on roots also where it asks clients for nothing, and does not use them then.
  const std::string& roots = files_.client_ca.empty() ? files_.certificate : files_.client_ca;
  return grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
}

int TlsCredentials::AddPortToServer(const std::string& address, grpc_server* server) {
  return grpc_server_add_http2_port(server, address.c_str(), credentials_);
}

// Calls are authenticated by CallGuard.
void TlsCredentials::SetAuthMetadataProcessor(
    const std::shared_ptr<grpc::AuthMetadataProcessor>& processor) {
  LLAVA_CHECK(processor == nullptr);
}

}  // namespace llava::rpc
