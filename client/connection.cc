#include "client/connection.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace llava::client {
namespace {

// Answers are small; images go the other way.
constexpr int kMaxMessageBytes = 256 << 20;
constexpr std::size_t kMaxPemBytes = std::size_t{1} << 20;

absl::StatusOr<std::string> ReadIfNamed(const std::string& path) {
  if (path.empty()) return std::string();
  return ReadFile(path, kMaxPemBytes);
}

}  // namespace

void Connection::AddFlags(CLI::App* command) {
  command->add_option("--server", server, "HOST:PORT of the server")->capture_default_str();
  command->add_flag("--tls", tls, "Use TLS with the system's certificate authorities");
  command->add_option("--ca", ca,
                      "PEM file of the authority that signed the server (implies --tls)");
  command->add_option("--cert", certificate, "PEM file of a certificate of our own, for mTLS");
  command->add_option("--key", key, "PEM file of its key");
  command->add_option("--token", token, "Bearer token")->envname("LLAVA_TOKEN");
  command->add_option("--tenant", tenant, "Whom the work is accounted to");
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connection::Channel() const {
  grpc::SslCredentialsOptions ssl;
  ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadIfNamed(ca));
  ASSIGN_OR_RETURN(ssl.pem_cert_chain, ReadIfNamed(certificate));
  ASSIGN_OR_RETURN(ssl.pem_private_key, ReadIfNamed(key));
  const bool secure = tls || !ca.empty() || !certificate.empty();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return grpc::CreateCustomChannel(
      server, secure ? grpc::SslCredentials(ssl) : grpc::InsecureChannelCredentials(), arguments);
}

absl::StatusOr<std::unique_ptr<v1::ChatService::Stub>> Connection::Stub() const {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Channel());
  return v1::ChatService::NewStub(channel);
}

void Connection::Identify(grpc::ClientContext* context) const {
  if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
  if (!tenant.empty()) context->AddMetadata("x-tenant", tenant);
}

}  // namespace llava::client
