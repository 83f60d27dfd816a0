// ModelService over the registry: how operators load versions and take them back.
#ifndef LLAVA_SERVER_API_GRPC_MODELS_H_
#define LLAVA_SERVER_API_GRPC_MODELS_H_

#include <atomic>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "llava/v1/models.pb.h"
#include "rpc/call_guard.h"
#include "rpc/raw_service.h"
#include "server/observe/log.h"
#include "server/registry/adapter_table.h"
#include "server/registry/registry.h"

namespace llava::api {

// Called by gRPC's own threads, one for each call in progress; a load and a watcher keep theirs, so
// their number is bounded. Everything it is given outlives it.
class GrpcModels final : public rpc::RawService {
 public:
  struct Options {
    std::string model_name;
    std::string checkpoint;  // what Reload takes when there is no watched folder; may be empty
    std::string watched;     // folder of published versions; may be empty
  };

  GrpcModels(Options options, registry::Registry* registry, registry::AdapterTable* adapters,
             rpc::CallGuard* guard, const observe::Log* log, const Clock* clock);

  // Ends every call that waits: they would block a shutdown.
  void Stop() { stopping_ = true; }

 private:
  using Call = rpc::BlockingCall;

  grpc::Status Load(Call* call);
  grpc::Status Reload(Call* call);
  grpc::Status SetTraffic(Call* call);
  grpc::Status Promote(Call* call);
  grpc::Status Rollback(Call* call);
  grpc::Status Unload(Call* call);
  grpc::Status List(Call* call);
  grpc::Status Watch(Call* call);
  grpc::Status LoadAdapter(Call* call);
  grpc::Status UnloadAdapter(Call* call);

  // Checks the role, reads the message into `request`, runs `act` with the caller's name, writes
  // that down, and sends `response` unless it is null.
  grpc::Status Command(Call* call, const char* name, google::protobuf::Message* request,
                       google::protobuf::Message* response,
                       const std::function<absl::Status(const std::string& caller)>& act,
                       bool only_reads = false);
  absl::Status LoadAndWait(const Call& call, const std::string& dir, v1::ModelVersion* version);
  absl::Status AwaitAdapter(const Call& call, const registry::AdapterTable::Ticket& ticket) const;
  absl::StatusOr<Digest> FindVersion(const std::string& name) const;
  absl::Status WatchChanges(Call* call);

  const Options options_;
  registry::Registry* const registry_;
  registry::AdapterTable* const adapters_;
  rpc::CallGuard* const guard_;
  const observe::Log* const log_;
  const Clock* const clock_;
  std::atomic<int> waiting_ = 0;  // loads, of adapters too, and watchers
  std::atomic<bool> stopping_ = false;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_MODELS_H_
