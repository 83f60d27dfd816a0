// The details of a gRPC error in the encoding that every gRPC client library reads: a
// google.rpc.Status whose details are google.rpc.RetryInfo and google.rpc.BadRequest
// (github.com/googleapis/googleapis, google/rpc/status.proto and error_details.proto).
#ifndef LLAVA_SERVER_API_GRPC_ERROR_DETAILS_H_
#define LLAVA_SERVER_API_GRPC_ERROR_DETAILS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace llava::api {

// Same code and message; RetryInfo when the status says when to try again, BadRequest when it names
// a field.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_ERROR_DETAILS_H_
