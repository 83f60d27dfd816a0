// gRPC's server credentials whose certificate can be replaced while connections are open.
#ifndef LLAVA_RPC_TLS_CREDENTIALS_H_
#define LLAVA_RPC_TLS_CREDENTIALS_H_

#include <grpc/grpc_security.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "base/mutex.h"
#include "rpc/tls_files.h"

namespace llava::rpc {

// Thread-safe. gRPC asks before each handshake which certificate it is to use; connections that are
// open keep theirs. Must outlive the server.
class TlsCredentials final : public grpc::ServerCredentials {
 public:
  // REQUIRES: `files` are enabled.
  explicit TlsCredentials(const TlsFiles& files);
  ~TlsCredentials() override;

  // For handshakes that begin from now on. Whether clients must have a certificate stays as it was
  // at the start. REQUIRES: `files` are enabled.
  void Replace(const TlsFiles& files);

 private:
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config);
  grpc_ssl_server_certificate_config* TakeNew();  // null: gRPC has it already
  int AddPortToServer(const std::string& address, grpc_server* server) override;
  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& processor) override;

  Mutex mutex_;
  TlsFiles files_ ABSL_GUARDED_BY(mutex_);
  bool is_new_ ABSL_GUARDED_BY(mutex_) = true;  // gRPC does not have files_ yet
  grpc_server_credentials* const credentials_;
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_TLS_CREDENTIALS_H_
