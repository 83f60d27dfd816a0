#include "server/api/grpc/models.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/grpc/error_details.h"
#include "server/registry/published.h"

namespace llava::api {
namespace {

using registry::VersionInfo;

constexpr int kMaxWaiting = 64;
constexpr std::size_t kMinVersionDigits = 8;
constexpr std::size_t kMaxReasonBytes = 1024;
// How often a call that waits looks whether its client has gone.
constexpr Duration kCancelPoll = std::chrono::milliseconds(100);

// A call's place among those that wait.
class WaitingSlot {
 public:
  explicit WaitingSlot(std::atomic<int>* taken) : taken_(taken), number_(++*taken) {}
  ~WaitingSlot() { --*taken_; }
  WaitingSlot(const WaitingSlot&) = delete;
  WaitingSlot& operator=(const WaitingSlot&) = delete;
  absl::Status status() const {
    if (number_ <= kMaxWaiting) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat(kMaxWaiting, " calls wait or watch already, the most there may be"));
  }

 private:
  std::atomic<int>* const taken_;
  const int number_;
};

void SetTime(std::int64_t ms, google::protobuf::Timestamp* time) {
  time->set_seconds(ms / 1000);
  time->set_nanos(static_cast<int>(ms % 1000) * 1'000'000);
}

v1::VersionState ToProto(registry::VersionState state) {
  // The same order, after VERSION_STATE_UNSPECIFIED.
  return static_cast<v1::VersionState>(static_cast<int>(state) + 1);
}

void Fill(const VersionInfo& info, v1::ModelVersion* version) {
  version->set_version(info.identity.digest.Hex());
  version->set_path(Utf8Repair(info.dir));
  version->set_state(ToProto(info.state));
  SetTime(info.since_ms, version->mutable_state_time());
  version->set_traffic(info.traffic);
  version->set_reason(Utf8Repair(info.reason));
  version->set_step(info.identity.step);
  version->set_parent(info.identity.parent);
  for (const auto& [name, value] : info.identity.evaluation) {
    (*version->mutable_evaluation())[name] = value;
  }
  version->set_bytes(info.bytes);
  version->set_load_seconds(info.load_seconds);
  version->set_answers(info.answers);
}

void Fill(const registry::VersionEvent& event, v1::ModelEvent* proto) {
  SetTime(event.at_ms, proto->mutable_time());
  proto->set_version(event.digest.Hex());
  proto->set_path(Utf8Repair(event.dir));
  proto->set_state(ToProto(event.state));
  proto->set_reason(Utf8Repair(event.reason));
}

void Fill(const registry::AdapterInfo& info, v1::ModelAdapter* proto) {
  proto->set_name(info.name);
  proto->set_path(Utf8Repair(info.dir));
  // The same order, after ADAPTER_STATE_UNSPECIFIED.
  proto->set_state(static_cast<v1::AdapterState>(static_cast<int>(info.state) + 1));
  SetTime(info.since_ms, proto->mutable_state_time());
  proto->set_reason(Utf8Repair(info.reason));
  proto->set_digest(info.digest);
  proto->set_base(Utf8Repair(info.base));
  proto->set_targets(Utf8Repair(info.targets));
  proto->set_rank(info.rank);
  proto->set_bytes(info.bytes);
}

}  // namespace

GrpcModels::GrpcModels(Options options, registry::Registry* registry,
                       registry::AdapterTable* adapters, rpc::CallGuard* guard,
                       const observe::Log* log, const Clock* clock)
    : options_(std::move(options)),
      registry_(registry),
      adapters_(adapters),
      guard_(guard),
      log_(log),
      clock_(clock) {
  AddBlockingMethod("/llava.v1.ModelService/Load", [this](Call* call) { return Load(call); });
  AddBlockingMethod("/llava.v1.ModelService/Reload", [this](Call* call) { return Reload(call); });
  AddBlockingMethod("/llava.v1.ModelService/SetTraffic",
                    [this](Call* call) { return SetTraffic(call); });
  AddBlockingMethod("/llava.v1.ModelService/Promote", [this](Call* call) { return Promote(call); });
  AddBlockingMethod("/llava.v1.ModelService/Rollback",
                    [this](Call* call) { return Rollback(call); });
  AddBlockingMethod("/llava.v1.ModelService/Unload", [this](Call* call) { return Unload(call); });
  AddBlockingMethod("/llava.v1.ModelService/List", [this](Call* call) { return List(call); });
  AddBlockingMethod("/llava.v1.ModelService/Watch", [this](Call* call) { return Watch(call); });
  AddBlockingMethod("/llava.v1.ModelService/LoadAdapter",
                    [this](Call* call) { return LoadAdapter(call); });
  AddBlockingMethod("/llava.v1.ModelService/UnloadAdapter",
                    [this](Call* call) { return UnloadAdapter(call); });
}

grpc::Status GrpcModels::Command(Call* call, const char* name, google::protobuf::Message* request,
                                 google::protobuf::Message* response,
                                 const std::function<absl::Status(const std::string& caller)>& act,
                                 bool only_reads) {
  const auto known = guard_->Authenticate(call->context(), rpc::Role::kAdmin);
  if (!known.ok()) return ToGrpcStatus(known.status());
  const std::string& caller = known->name;
  absl::Status status = call->Read(caller, guard_, request);
  if (status.ok()) status = act(caller);
  boost::json::object line = {{"command", name},
                              {"caller", caller},
                              {"status", absl::StatusCodeToString(status.code())},
                              {"message", MessageOf(status)}};
  if (only_reads) {
    log_->Debug("model command", std::move(line));
  } else {
    log_->Info("model command", std::move(line));
  }
  if (status.ok() && response != nullptr) call->Write(*response);
  return ToGrpcStatus(status);
}

absl::Status GrpcModels::LoadAndWait(const Call& call, const std::string& dir,
                                     v1::ModelVersion* version) {
  const WaitingSlot slot(&waiting_);
  RETURN_IF_ERROR(slot.status());
  ASSIGN_OR_RETURN(const registry::Ticket ticket,
                   registry_->Load(dir, registry::Origin::kOperator));
  for (;;) {
    if (const auto outcome = registry_->Await(ticket, clock_->Now() + kCancelPoll)) {
      RETURN_IF_ERROR(outcome->status);
      Fill(outcome->info, version);
      return absl::OkStatus();
    }
    if (stopping_) return absl::UnavailableError("the server is stopping");
    if (call.IsCancelled()) return absl::CancelledError("the caller has gone; it goes on");
  }
}

grpc::Status GrpcModels::Load(Call* call) {
  v1::LoadRequest request;
  v1::LoadResponse response;
  return Command(call, "load", &request, &response, [&](const std::string&) -> absl::Status {
    if (request.path().empty()) {
      return FieldError("path", "is empty, expected a checkpoint's folder");
    }
    return LoadAndWait(*call, request.path(), response.mutable_version());
  });
}

grpc::Status GrpcModels::Reload(Call* call) {
  v1::ReloadRequest request;
  v1::ReloadResponse response;
  return Command(call, "reload", &request, &response, [&](const std::string&) -> absl::Status {
    std::string dir = options_.checkpoint;
    if (!options_.watched.empty()) {
      const auto latest = registry::ReadLatestLink(options_.watched);
      if (!latest) {
        return absl::FailedPreconditionError(
            absl::StrCat("there is no link ", options_.watched, "/latest"));
      }
      dir = *latest;
    }
    if (dir.empty()) {
      return absl::FailedPreconditionError("neither checkpoint nor watch is configured");
    }
    return LoadAndWait(*call, dir, response.mutable_version());
  });
}

grpc::Status GrpcModels::SetTraffic(Call* call) {
  v1::SetTrafficRequest request;
  v1::SetTrafficResponse response;
  return Command(call, "traffic", &request, &response,
                 [&](const std::string&) { return registry_->SetTraffic(request.share()); });
}

grpc::Status GrpcModels::Promote(Call* call) {
  v1::PromoteRequest request;
  v1::PromoteResponse response;
  return Command(call, "promote", &request, &response,
                 [&](const std::string&) { return registry_->Promote(); });
}

grpc::Status GrpcModels::Rollback(Call* call) {
  v1::RollbackRequest request;
  v1::RollbackResponse response;
  return Command(
      call, "rollback", &request, &response, [&](const std::string& caller) -> absl::Status {
        if (request.reason().size() > kMaxReasonBytes) {
          return FieldError("reason", absl::StrCat(request.reason().size(),
                                                   " bytes, expected at most ", kMaxReasonBytes));
        }
        return registry_->RollBack(absl::StrCat("by ", caller.empty() ? "an operator" : caller,
                                                request.reason().empty() ? "" : ": ",
                                                request.reason()));
      });
}

grpc::Status GrpcModels::Unload(Call* call) {
  v1::UnloadRequest request;
  v1::UnloadResponse response;
  return Command(call, "unload", &request, &response, [&](const std::string&) -> absl::Status {
    ASSIGN_OR_RETURN(const Digest version, FindVersion(request.version()));
    return registry_->Unload(version);
  });
}

absl::StatusOr<Digest> GrpcModels::FindVersion(const std::string& name) const {
  if (name.size() < kMinVersionDigits) {
    return FieldError("version", absl::StrCat("\"", name, "\" is too short, expected at least ",
                                              kMinVersionDigits, " digits of a version"));
  }
  std::vector<Digest> found;
  for (const VersionInfo& info : registry_->Snapshot().versions) {
    if (absl::StartsWith(info.identity.digest.Hex(), name)) found.push_back(info.identity.digest);
  }
  if (found.empty()) {
    return WithField(absl::NotFoundError(absl::StrCat("there is no version ", name)), "version");
  }
  if (found.size() > 1) {
    return FieldError("version", absl::StrCat(name, " is the beginning of ", found.size(),
                                              " versions, expected one"));
  }
  return found.front();
}

grpc::Status GrpcModels::List(Call* call) {
  v1::ListRequest request;
  v1::ListResponse response;
  return Command(
      call, "list", &request, &response,
      [&](const std::string&) {
        const registry::VersionsSnapshot now = registry_->Snapshot();
        response.set_model(options_.model_name);
        for (const VersionInfo& info : now.versions) Fill(info, response.add_versions());
        for (const auto& event : now.events) Fill(event, response.add_events());
        for (const auto& adapter : adapters_->List()) Fill(adapter, response.add_adapters());
        return absl::OkStatus();
      },
      /*only_reads=*/true);
}

absl::Status GrpcModels::AwaitAdapter(const Call& call,
                                      const registry::AdapterTable::Ticket& ticket) const {
  for (;;) {
    if (const auto status = adapters_->Await(ticket, clock_->Now() + kCancelPoll)) return *status;
    if (stopping_) return absl::UnavailableError("the server is stopping");
    if (call.IsCancelled()) return absl::CancelledError("the caller has gone; it goes on");
  }
}

grpc::Status GrpcModels::LoadAdapter(Call* call) {
  v1::LoadAdapterRequest request;
  v1::LoadAdapterResponse response;
  return Command(
      call, "load adapter", &request, &response, [&](const std::string&) -> absl::Status {
        if (request.path().empty()) {
          return FieldError("path", "is empty, expected an adapter's folder");
        }
        const WaitingSlot slot(&waiting_);
        RETURN_IF_ERROR(slot.status());
        ASSIGN_OR_RETURN(const auto ticket, adapters_->Load(request.name(), request.path()));
        RETURN_IF_ERROR(AwaitAdapter(*call, ticket));
        for (const registry::AdapterInfo& info : adapters_->List()) {
          const bool answers = info.state == registry::AdapterState::kServing ||
                               info.state == registry::AdapterState::kCanary;  // after it
          if (info.name == request.name() && answers) Fill(info, response.mutable_adapter());
        }
        return absl::OkStatus();
      });
}

grpc::Status GrpcModels::UnloadAdapter(Call* call) {
  v1::UnloadAdapterRequest request;
  v1::UnloadAdapterResponse response;
  return Command(call, "unload adapter", &request, &response,
                 [&](const std::string&) { return adapters_->Remove(request.name()); });
}

grpc::Status GrpcModels::Watch(Call* call) {
  v1::WatchRequest request;
  return Command(
      call, "watch", &request, nullptr, [&](const std::string&) { return WatchChanges(call); },
      /*only_reads=*/true);
}

absl::Status GrpcModels::WatchChanges(Call* call) {
  const WaitingSlot slot(&waiting_);
  RETURN_IF_ERROR(slot.status());
  std::uint64_t seen = 0;
  for (bool first = true;; first = false) {
    const registry::VersionsSnapshot now = registry_->Snapshot();
    v1::WatchResponse response;
    response.set_model(options_.model_name);
    for (const VersionInfo& info : now.versions) Fill(info, response.add_versions());
    // Each change is one event; those that are out of the log already are lost.
    const std::size_t fresh =
        first ? 0 : std::min<std::size_t>(now.changes - seen, now.events.size());
    for (std::size_t i = now.events.size() - fresh; i < now.events.size(); ++i) {
      Fill(now.events[i], response.add_events());
    }
    seen = now.changes;
    if (!call->Write(response)) return absl::CancelledError("the watcher has gone");
    while (!registry_->WaitForChange(seen, clock_->Now() + kCancelPoll)) {
      if (stopping_) return absl::UnavailableError("the server is stopping");
      if (call->IsCancelled()) return absl::CancelledError("the watcher has gone");
    }
  }
}

}  // namespace llava::api
