#include "base/digest.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace llava {

std::string Digest::Hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const std::uint8_t byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

// The algorithm is fetched once: EVP_sha256() would be looked up again for each digest.
struct Sha256::Context {
  EVP_MD* algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() {
    EVP_MD_CTX_free(evp);
    EVP_MD_free(algorithm);
  }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  LLAVA_CHECK(context_->algorithm != nullptr);
  LLAVA_CHECK_EQ(EVP_DigestInit_ex2(context_->evp, context_->algorithm, nullptr), 1);
}

Sha256::~Sha256() = default;

Sha256& Sha256::Update(std::string_view bytes) {
  LLAVA_CHECK_EQ(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()), 1);
  return *this;
}

Sha256& Sha256::Update(const Digest& digest) {
  LLAVA_CHECK_EQ(EVP_DigestUpdate(context_->evp, digest.bytes.data(), digest.bytes.size()), 1);
  return *this;
}

Digest Sha256::Finish() {
  Digest digest;
  LLAVA_CHECK_EQ(EVP_DigestFinal_ex(context_->evp, digest.bytes.data(), nullptr), 1);
  LLAVA_CHECK_EQ(EVP_DigestInit_ex2(context_->evp, context_->algorithm, nullptr), 1);
  return digest;
}

Digest Sha256Of(std::string_view bytes) { return Sha256().Update(bytes).Finish(); }

}  // namespace llava
