// A gRPC service whose methods see a call before its message: gRPC's generated services read and
// parse the message first, whoever sends it.
#ifndef LLAVA_RPC_RAW_SERVICE_H_
#define LLAVA_RPC_RAW_SERVICE_H_

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>

#include <functional>

#include "absl/status/status.h"
#include "rpc/call_guard.h"

namespace llava::rpc {

// A call that may be refused before its message is read. Messages are serialized.
using RawReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// The same for methods that block. Used by the method's thread.
class BlockingCall {
 public:
  using Stream = grpc::ServerReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;

  BlockingCall(grpc::ServerContext* context, Stream* stream) : context_(context), stream_(stream) {}

  const grpc::ServerContext& context() const { return *context_; }
  bool IsCancelled() const { return context_->IsCancelled(); }

  // Waits for the message of the call of `caller`. Errors are those of CallGuard::Parse;
  // INVALID_ARGUMENT when there is none, CANCELLED when it takes too long. Call once.
  absl::Status Read(const std::string& caller, CallGuard* guard,
                    google::protobuf::Message* message);

  // False when the client has gone.
  bool Write(const google::protobuf::Message& message) { return stream_->Write(ToBytes(message)); }

 private:
  grpc::ServerContext* const context_;
  Stream* const stream_;
  CallGuard::Share share_;
};

// Registered with a GrpcServer, which it outlives.
class RawService : public grpc::Service {
 protected:
  // `name` is "/package.Service/Method" and lives as long as the service. Each reactor deletes
  // itself; `start` must not block.
  void AddMethod(const char* name,
                 std::function<RawReactor*(grpc::CallbackServerContext* context)> start);

  // `run` has a thread of gRPC for itself, whose number GrpcOptions bounds.
  void AddBlockingMethod(const char* name, std::function<grpc::Status(BlockingCall* call)> run);
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_RAW_SERVICE_H_
