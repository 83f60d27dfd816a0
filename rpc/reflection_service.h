// grpc.reflection.v1.ServerReflection, also under its older name v1alpha: which services there are
// and what their messages look like. For tokens of any role; gRPC's own asks for none, and keeps a
// thread for each call.
#ifndef LLAVA_RPC_REFLECTION_SERVICE_H_
#define LLAVA_RPC_REFLECTION_SERVICE_H_

#include <string>
#include <vector>

#include "rpc/open_calls.h"
#include "rpc/raw_service.h"

namespace llava::rpc {

// Thread-safe.
class ReflectionService final : public RawService {
 public:
  static constexpr std::size_t kMaxCalls = 32;  // at a time

  // `services`: full names. `guard` outlives the service.
  ReflectionService(std::vector<std::string> services, CallGuard* guard);

 private:
  class Call;

  const std::vector<std::string> services_;
  CallGuard* const guard_;
  OpenCalls calls_{kMaxCalls};
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_REFLECTION_SERVICE_H_
