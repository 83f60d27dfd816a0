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
  auto* credentials = static_cast<TlsCredentials*>(self);
  MutexLock lock(&credentials->mutex_);
  if (!std::exchange(credentials->is_new_, false))
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
  const TlsFiles& files = credentials->files_;
  const grpc_ssl_pem_key_cert_pair pair = {files.key.c_str(), files.certificate.c_str()};
  // gRPC insists on roots also where it asks clients for nothing, and does not use them then.
  const std::string& roots = files.client_ca.empty() ? files.certificate : files.client_ca;
  *config = grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
  return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
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
