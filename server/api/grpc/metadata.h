// What a gRPC call says beside its message.
#ifndef LLAVA_SERVER_API_GRPC_METADATA_H_
#define LLAVA_SERVER_API_GRPC_METADATA_H_

#include <grpcpp/server_context.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "base/clock.h"
#include "rpc/auth.h"
#include "server/chat/chat_call.h"

namespace llava::api {

// The value of a key in lower case; empty when it is absent.
std::string Metadata(const grpc::CallbackServerContext& context, const std::string& key);

// Checks the token and fills arrival, deadline, request id and, unless it has one, tenant; sends
// the request id back. Errors are those of Auth::Check.
absl::Status Identify(grpc::CallbackServerContext* context, const rpc::Auth& auth, rpc::Role role,
                      const Clock& clock, ChatCall* call);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_METADATA_H_
