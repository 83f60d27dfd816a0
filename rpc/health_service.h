// grpc.health.v1.Health, open to everybody and therefore bounded: gRPC's own holds any number of
// watchers.
#ifndef LLAVA_RPC_HEALTH_SERVICE_H_
#define LLAVA_RPC_HEALTH_SERVICE_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "rpc/open_calls.h"
#include "rpc/raw_service.h"

namespace llava::rpc {

// Thread-safe.
class HealthService final : public RawService {
 public:
  static constexpr std::size_t kMaxCalls = 256;  // of Check, and as many of Watch

  // The name to ask for whether the process lives, as liveness probes do: serving from the first
  // call to the last, whatever SetServing says.
  static constexpr const char* kLiveness = "liveness";

  // Not serving until SetServing. `names`: of the services whose health is told, beside ""
  // and kLiveness.
  explicit HealthService(const std::vector<std::string>& names);

  // Tells every watcher.
  void SetServing(bool serving);

  // Ends every watcher with UNAVAILABLE, and those that come.
  void Stop();

 private:
  class Call;

  Mutex mutex_;
  std::set<std::string> names_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<Call*> watchers_ ABSL_GUARDED_BY(mutex_);
  // Two, so that a flood of watchers ends no check: a probe would take that for a sick server.
  OpenCalls checks_{kMaxCalls};
  OpenCalls watches_{kMaxCalls};
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_HEALTH_SERVICE_H_
