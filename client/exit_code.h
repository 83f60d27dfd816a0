// What the command's exit code says, so that scripts can tell who is to blame.
#ifndef LLAVA_CLIENT_EXIT_CODE_H_
#define LLAVA_CLIENT_EXIT_CODE_H_

#include <grpcpp/support/status.h>

namespace llava::client {

inline constexpr int kOk = 0;
inline constexpr int kRequestError = 1;  // the request was wrong: arguments, files, token, limits
inline constexpr int kServerError = 2;   // the server failed, or is too busy
inline constexpr int kNetworkError = 3;  // the server cannot be reached, or the connection broke
inline constexpr int kInterrupted = 130;

inline int ExitCodeOf(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::OK:
      return kOk;
    case grpc::INVALID_ARGUMENT:
    case grpc::NOT_FOUND:
    case grpc::UNAUTHENTICATED:
    case grpc::PERMISSION_DENIED:
    case grpc::OUT_OF_RANGE:
    case grpc::FAILED_PRECONDITION:  // what was asked for must not be done now
    case grpc::ALREADY_EXISTS:
    case grpc::UNIMPLEMENTED:
      return kRequestError;
    case grpc::UNAVAILABLE:
      return kNetworkError;
    case grpc::CANCELLED:
      return kInterrupted;
    default:
      return kServerError;
  }
}

}  // namespace llava::client

#endif  // LLAVA_CLIENT_EXIT_CODE_H_
