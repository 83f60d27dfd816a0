// ModelService over the registry: how operators load versions and take them back.
#ifndef LLAVA_SERVER_API_GRPC_MODELS_H_
#define LLAVA_SERVER_API_GRPC_MODELS_H_

#include <atomic>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "llava/v1/models.grpc.pb.h"
#include "rpc/auth.h"
#include "server/observe/log.h"
#include "server/registry/registry.h"

namespace llava::api {

// Called by gRPC's own threads, one for each call in progress; a load and a watcher keep theirs, so
// their number is bounded. Everything it is given outlives it.
class GrpcModels final : public v1::ModelService::Service {
 public:
  struct Options {
    std::string model_name;
    std::string checkpoint;  // what Reload takes when there is no watched folder; may be empty
    std::string watched;     // folder of published versions; may be empty
  };

  GrpcModels(Options options, registry::Registry* registry, const rpc::Auth* auth,
             const observe::Log* log, const Clock* clock)
      : options_(std::move(options)), registry_(registry), auth_(auth), log_(log), clock_(clock) {}

  // Ends every call that waits: they would block a shutdown.
  void Stop() { stopping_ = true; }

  grpc::Status Load(grpc::ServerContext* context, const v1::LoadRequest* request,
                    v1::LoadResponse* response) override;
  grpc::Status Reload(grpc::ServerContext* context, const v1::ReloadRequest* request,
                      v1::ReloadResponse* response) override;
  grpc::Status SetTraffic(grpc::ServerContext* context, const v1::SetTrafficRequest* request,
                          v1::SetTrafficResponse* response) override;
  grpc::Status Promote(grpc::ServerContext* context, const v1::PromoteRequest* request,
                       v1::PromoteResponse* response) override;
  grpc::Status Rollback(grpc::ServerContext* context, const v1::RollbackRequest* request,
                        v1::RollbackResponse* response) override;
  grpc::Status Unload(grpc::ServerContext* context, const v1::UnloadRequest* request,
                      v1::UnloadResponse* response) override;
  grpc::Status List(grpc::ServerContext* context, const v1::ListRequest* request,
                    v1::ListResponse* response) override;
  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override;

 private:
  // Checks the role, runs `act` with the caller's name, and writes it down.
  grpc::Status Command(grpc::ServerContext* context, const char* name,
                       const std::function<absl::Status(const std::string& caller)>& act,
                       bool only_reads = false);
  absl::Status LoadAndWait(grpc::ServerContext* context, const std::string& dir,
                           v1::ModelVersion* version);
  absl::StatusOr<Digest> FindVersion(const std::string& name) const;
  absl::Status WatchChanges(grpc::ServerContext* context,
                            grpc::ServerWriter<v1::WatchResponse>* writer);

  const Options options_;
  registry::Registry* const registry_;
  const rpc::Auth* const auth_;
  const observe::Log* const log_;
  const Clock* const clock_;
  std::atomic<int> waiting_ = 0;  // loads and watchers
  std::atomic<bool> stopping_ = false;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_MODELS_H_
