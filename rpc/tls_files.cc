#include "rpc/tls_files.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstddef>
#include <ctime>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace llava::rpc {
namespace {

constexpr std::size_t kMaxPemBytes = std::size_t{1} << 20;

absl::StatusOr<std::string> ReadPem(const std::string& path) {
  if (path.empty()) return std::string();
  ASSIGN_OR_RETURN(std::string text, ReadFile(path, kMaxPemBytes));
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": is empty"));
  return text;
}

struct BioDeleter {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
struct X509Deleter {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
struct KeyDeleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Bio = std::unique_ptr<BIO, BioDeleter>;
using Certificate = std::unique_ptr<X509, X509Deleter>;
using Key = std::unique_ptr<EVP_PKEY, KeyDeleter>;

Bio Memory(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

absl::StatusOr<Certificate> ParseCertificate(const std::string& pem, const std::string& path) {
  Certificate certificate(PEM_read_bio_X509(Memory(pem).get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": holds no PEM certificate"));
  }
  return certificate;
}

std::int64_t Expires(const X509& certificate) {
  std::tm end = {};
  return ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &end) == 1 ? timegm(&end) : 0;
}

}  // namespace

absl::StatusOr<TlsFiles> ReadTlsFiles(const std::string& certificate, const std::string& key,
                                      const std::string& client_ca) {
  TlsFiles files;
  ASSIGN_OR_RETURN(files.certificate, ReadPem(certificate));
  ASSIGN_OR_RETURN(files.key, ReadPem(key));
  ASSIGN_OR_RETURN(files.client_ca, ReadPem(client_ca));
  if (!files.enabled()) return files;
  ASSIGN_OR_RETURN(const Certificate x509, ParseCertificate(files.certificate, certificate));
  files.expires = Expires(*x509);
  const Key private_key(
      PEM_read_bio_PrivateKey(Memory(files.key).get(), nullptr, nullptr, nullptr));
  if (private_key == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": holds no PEM private key"));
  }
  if (X509_check_private_key(x509.get(), private_key.get()) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": is not the key of the certificate in ", certificate));
  }
  if (!files.client_ca.empty()) {
    RETURN_IF_ERROR(ParseCertificate(files.client_ca, client_ca).status());
  }
  return files;
}

}  // namespace llava::rpc
