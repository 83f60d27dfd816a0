// What a gRPC call says beside its message.
#ifndef LLAVA_SERVER_API_GRPC_METADATA_H_
#define LLAVA_SERVER_API_GRPC_METADATA_H_

#include <grpcpp/server_context.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "rpc/call_guard.h"
#include "server/chat/chat_call.h"

namespace llava::api {

// What is known of a call before its message.
struct CallHead {
  rpc::Caller caller;
  std::string request_id;
  std::string traceparent;
  std::string tenant;  // the metadata x-tenant
  TimePoint arrival;
  std::optional<TimePoint> deadline;
};

// Sends the request id back. Errors are those of Auth::Check.
absl::StatusOr<CallHead> ReadHead(grpc::CallbackServerContext* context, const rpc::CallGuard& guard,
                                  rpc::Role role, const Clock& clock);

// Moves the head into a call, and settles whom it is accounted to. `field`: where the message names
// a tenant. Errors are those of rpc::TenantOf.
absl::Status Complete(CallHead head, absl::string_view field, ChatCall* call);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_METADATA_H_
