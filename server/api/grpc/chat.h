// ChatService over gRPC's callback API: one reactor a call, which never blocks.
#ifndef LLAVA_SERVER_API_GRPC_CHAT_H_
#define LLAVA_SERVER_API_GRPC_CHAT_H_

#include "rpc/call_guard.h"
#include "rpc/raw_service.h"
#include "server/chat/chat_runner.h"
#include "server/chat/io_pool.h"

namespace llava::api {

// Thread-safe. What it is given outlives it, and it outlives the gRPC server.
class GrpcChat final : public rpc::RawService {
 public:
  GrpcChat(ChatRunner* runner, IoPool* io, rpc::CallGuard* guard);
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_CHAT_H_
