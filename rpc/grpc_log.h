// What gRPC and protobuf themselves have to say goes where our own log lines go, instead of to
// standard error as plain text.
#ifndef LLAVA_RPC_GRPC_LOG_H_
#define LLAVA_RPC_GRPC_LOG_H_

#include <functional>
#include <memory>
#include <string>

namespace llava::rpc {

// `place` is FILE:LINE of their source. Called by any thread, possibly at once.
using GrpcLogSink =
    std::function<void(bool is_error, const std::string& place, const std::string& message)>;

// While it lives, gRPC's lines of level INFO (when GRPC_VERBOSITY asks for them) and above and
// protobuf's go to the sink. Both have one log in a process: of several redirections the newest
// gets the lines, and without any they are dropped.
class GrpcLogRedirection {
 public:
  explicit GrpcLogRedirection(GrpcLogSink sink);
  ~GrpcLogRedirection();
  GrpcLogRedirection(const GrpcLogRedirection&) = delete;
  GrpcLogRedirection& operator=(const GrpcLogRedirection&) = delete;

 private:
  const std::shared_ptr<const GrpcLogSink> sink_;
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_GRPC_LOG_H_
