// Where certificates come from; gRPC and HTTP use the same ones.
#ifndef LLAVA_RPC_TLS_FILES_H_
#define LLAVA_RPC_TLS_FILES_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace llava::rpc {

// Contents of PEM files; all empty without TLS, `client_ca` empty without mTLS.
struct TlsFiles {
  std::string certificate;
  std::string key;
  std::string client_ca;
  std::int64_t expires = 0;  // the certificate's end, in seconds of Unix time

  bool enabled() const { return !certificate.empty(); }
};

// Reads the files; empty paths are skipped. NOT_FOUND; INVALID_ARGUMENT when a file holds no PEM,
// or the key is not the certificate's.
absl::StatusOr<TlsFiles> ReadTlsFiles(const std::string& certificate, const std::string& key,
                                      const std::string& client_ca);

}  // namespace llava::rpc

#endif  // LLAVA_RPC_TLS_FILES_H_
