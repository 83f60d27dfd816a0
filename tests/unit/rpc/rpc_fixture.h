// A server of ours on a real socket, with a service that counts what reaches it.
#ifndef LLAVA_TESTS_UNIT_RPC_RPC_FIXTURE_H_
#define LLAVA_TESTS_UNIT_RPC_RPC_FIXTURE_H_

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.pb.h"
#include "rpc/grpc_server.h"

namespace llava::rpc {

// Answers with SERVING when the request's service is "yes". For chat tokens.
class EchoService final : public RawService {
 public:
  explicit EchoService(CallGuard* guard) {
    AddBlockingMethod("/test.Echo/Ask", [this, guard](BlockingCall* call) {
      const auto status = Answer(guard, call);
      return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                          std::string(status.message()));
    });
  }
  int parsed() const { return parsed_; }

 private:
  absl::Status Answer(CallGuard* guard, BlockingCall* call) {
    const auto caller = guard->Authenticate(call->context(), Role::kChat);
    if (!caller.ok()) return caller.status();
    grpc::health::v1::HealthCheckRequest request;
    const absl::Status read = call->Read("somebody", guard, &request);
    if (!read.ok()) return read;
    ++parsed_;
    grpc::health::v1::HealthCheckResponse response;
    if (request.service() == "yes") {
      response.set_status(grpc::health::v1::HealthCheckResponse::SERVING);
    }
    call->Write(response);
    return absl::OkStatus();
  }

  std::atomic<int> parsed_ = 0;
};

class RpcTest : public ::testing::Test {
 protected:
  // alice may chat with the token "a", root administrates with "r".
  RpcTest()
      : auth_(*Auth::FromText(absl::StrCat("alice chat sha256:", Sha256Of("a").Hex(),
                                           "\nroot admin sha256:", Sha256Of("r").Hex(), "\n"),
                              "tokens")) {
    options_.listen = "127.0.0.1:0";
    options_.service_names = {"test.Echo"};
  }

  void Start() {
    auto server = GrpcServer::Start(options_, {&echo_}, &guard_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel_ = grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                         grpc::InsecureChannelCredentials(), arguments);
  }

  static void Token(grpc::ClientContext* context, const std::string& token) {
    if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
  }

  // Sends raw bytes to a method.
  grpc::Status Call(const std::string& method, const std::string& bytes,
                    const std::string& token = "a",
                    grpc_compression_algorithm compression = GRPC_COMPRESS_NONE) {
    grpc::ClientContext context;
    Token(&context, token);
    context.set_compression_algorithm(compression);
    grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::CompletionQueue queue;
    grpc::GenericStub stub(channel_);
    const auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
    call->StartCall();
    grpc::Status status;
    call->Finish(&answer_, &status, this);
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return status;
  }

  GrpcOptions options_;
  const Auth auth_;
  CallGuard guard_{&auth_};
  EchoService echo_{&guard_};
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  grpc::ByteBuffer answer_;
};

}  // namespace llava::rpc

#endif  // LLAVA_TESTS_UNIT_RPC_RPC_FIXTURE_H_
