#include "rpc/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <fstream>
#include <memory>
#include <sstream>

#include "tests/support/temp_dir.h"

namespace llava::rpc {
namespace {

using ::testing::HasSubstr;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

class TlsFilesTest : public ::testing::Test {
 protected:
  TlsFilesTest() : key_(NewKey()), other_(NewKey()) {
    WriteKey("server.key", key_);
    WriteKey("other.key", other_);
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), &X509_free);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key_.get());
    X509_sign(certificate.get(), key_.get(), EVP_sha256());
    FILE* file = std::fopen(Path("server.pem").c_str(), "w");
    PEM_write_X509(file, certificate.get());
    std::fclose(file);
    Write("empty", "");
    Write("text", "no PEM");
  }

  static Key NewKey() { return Key(EVP_EC_gen("P-256"), &EVP_PKEY_free); }
  std::string Path(const std::string& name) const {
    return name.empty() ? "" : dir_.path() + "/" + name;
  }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name)) << text;
  }
  void WriteKey(const std::string& name, const Key& key) const {
    FILE* file = std::fopen(Path(name).c_str(), "w");
    PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
  }
  std::string Error(const std::string& certificate, const std::string& key,
                    const std::string& ca = "") const {
    return std::string(ReadTlsFiles(Path(certificate), Path(key), Path(ca)).status().message());
  }

  test::TempDir dir_;
  const Key key_, other_;
};

TEST_F(TlsFilesTest, ReadsWhatBelongsTogether) {
  const auto files = ReadTlsFiles(Path("server.pem"), Path("server.key"), Path("server.pem"));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_TRUE(files->enabled());
  EXPECT_THAT(files->certificate, HasSubstr("BEGIN CERTIFICATE"));
  EXPECT_THAT(files->key, HasSubstr("PRIVATE KEY"));
  EXPECT_EQ(files->client_ca, files->certificate);
  EXPECT_FALSE(ReadTlsFiles("", "", "")->enabled());
}

TEST_F(TlsFilesTest, NamesTheFileThatIsWrong) {
  EXPECT_THAT(Error("server.pem", "other.key"), HasSubstr("other.key: is not the key of"));
  EXPECT_THAT(Error("text", "server.key"), HasSubstr("text: holds no PEM certificate"));
  EXPECT_THAT(Error("server.pem", "text"), HasSubstr("text: holds no PEM private key"));
  EXPECT_THAT(Error("server.pem", "server.key", "text"), HasSubstr("text: holds no PEM"));
  EXPECT_THAT(Error("empty", "server.key"), HasSubstr("empty: is empty"));
  EXPECT_EQ(ReadTlsFiles(Path("missing"), "", "").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace llava::rpc
