// How the client reaches a server: address, TLS, token. The same flags for every command.
#ifndef LLAVA_CLIENT_CONNECTION_H_
#define LLAVA_CLIENT_CONNECTION_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <CLI/App.hpp>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "llava/v1/chat.grpc.pb.h"

namespace llava::client {

struct Connection {
  std::string server = "127.0.0.1:50051";
  bool tls = false;
  std::string ca;           // PEM files
  std::string certificate;  // for mTLS, with its key
  std::string key;
  std::string token;
  std::string tenant;

  // --server, --tls, --ca, --cert, --key, --token (or LLAVA_TOKEN), --tenant. `this` must outlive
  // the parsing.
  void AddFlags(CLI::App* command);

  // NOT_FOUND or INVALID_ARGUMENT for files. Connects when it is first used.
  absl::StatusOr<std::shared_ptr<grpc::Channel>> Channel() const;
  absl::StatusOr<std::unique_ptr<v1::ChatService::Stub>> Stub() const;

  // Token and tenant.
  void Identify(grpc::ClientContext* context) const;
};

}  // namespace llava::client

#endif  // LLAVA_CLIENT_CONNECTION_H_
