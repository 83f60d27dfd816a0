#include "rpc/raw_service.h"

#include <grpcpp/impl/codegen/rpc_service_method.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/support/method_handler.h>

#include <utility>

namespace llava::rpc {
namespace {

// On the wire all kinds of methods are the same. gRPC hands a call over before its message only
// when it takes the method for a stream in both directions.
constexpr auto kType = grpc::internal::RpcMethod::BIDI_STREAMING;

}  // namespace

absl::Status BlockingCall::Read(const std::string& caller, CallGuard* guard,
                                google::protobuf::Message* message) {
  const auto place = guard->waits().Enter(caller, RealClock().Now(),
                                          [this](const absl::Status&) { context_->TryCancel(); });
  grpc::ByteBuffer bytes;
  const bool has_message = stream_->Read(&bytes);
  if (!guard->waits().Leave(place)) {
    return absl::CancelledError("the call's message was not waited for any longer");
  }
  if (!has_message) return absl::InvalidArgumentError("the call has no message");
  return guard->Parse(&bytes, message, &share_);
}

void RawService::AddMethod(const char* name,
                           std::function<RawReactor*(grpc::CallbackServerContext* context)> start) {
  // The service owns its methods, and a method its handler.
  auto* method = new grpc::internal::RpcServiceMethod(name, kType, nullptr);
  method->SetServerApiType(grpc::internal::RpcServiceMethod::ApiType::RAW_CALL_BACK);
  method->SetHandler(new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
      std::move(start)));
  grpc::Service::AddMethod(method);
}

void RawService::AddBlockingMethod(const char* name,
                                   std::function<grpc::Status(BlockingCall* call)> run) {
  using Handler =
      grpc::internal::BidiStreamingHandler<RawService, grpc::ByteBuffer, grpc::ByteBuffer>;
  grpc::Service::AddMethod(new grpc::internal::RpcServiceMethod(
      name, kType,
      new Handler(
          [run = std::move(run)](RawService*, grpc::ServerContext* context,
                                 BlockingCall::Stream* stream) {
            BlockingCall call(context, stream);
            return run(&call);
          },
          this)));
}

}  // namespace llava::rpc
