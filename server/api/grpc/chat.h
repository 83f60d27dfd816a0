// ChatService over gRPC's callback API: one reactor a call, which never blocks.
#ifndef LLAVA_SERVER_API_GRPC_CHAT_H_
#define LLAVA_SERVER_API_GRPC_CHAT_H_

#include "llava/v1/chat.grpc.pb.h"
#include "rpc/auth.h"
#include "server/chat/chat_runner.h"
#include "server/chat/io_pool.h"

namespace llava::api {

// Thread-safe. What it is given outlives it, and it outlives the gRPC server.
class GrpcChat final : public llava::v1::ChatService::CallbackService {
 public:
  GrpcChat(ChatRunner* runner, IoPool* io, const rpc::Auth* auth)
      : runner_(runner), io_(io), auth_(auth) {}

  grpc::ServerUnaryReactor* Chat(grpc::CallbackServerContext* context,
                                 const llava::v1::ChatRequest* request,
                                 llava::v1::ChatResponse* response) override;

  grpc::ServerWriteReactor<llava::v1::ChatStreamResponse>* ChatStream(
      grpc::CallbackServerContext* context, const llava::v1::ChatStreamRequest* request) override;

 private:
  ChatRunner* const runner_;
  IoPool* const io_;
  const rpc::Auth* const auth_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_CHAT_H_
