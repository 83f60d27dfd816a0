#include "rpc/health_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.pb.h"

namespace llava::rpc {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr std::size_t kMaxMessageBytes = 4096;

grpc::ByteBuffer Answer(HealthCheckResponse::ServingStatus status) {
  HealthCheckResponse response;
  response.set_status(status);
  return ToBytes(response);
}

}  // namespace

// One call of Check or Watch. A watcher writes one answer at a time; what changes meanwhile is told
// by the next one.
class HealthService::Call final : public RawReactor {
 public:
  Call(HealthService* service, bool watches)
      : service_(service),
        watches_(watches),
        calls_(watches ? &service->watches_ : &service->checks_) {
    place_ = calls_->Enter([this] {
      End({grpc::RESOURCE_EXHAUSTED,
           absl::StrCat("more than ", kMaxCalls, " health calls of one kind")});
    });
    StartRead(&bytes_);
  }

  void OnReadDone(bool ok) override {
    HealthCheckRequest request;
    if (!ok || bytes_.Length() > kMaxMessageBytes || !Parse(&request)) {
      return End({grpc::INVALID_ARGUMENT, "expected one grpc.health.v1.HealthCheckRequest"});
    }
    is_liveness_ = request.service() == kLiveness;
    known_ =
        request.service().empty() || is_liveness_ || service_->names_.contains(request.service());
    if (watches_) return Watch();
    if (!known_) return End({grpc::NOT_FOUND, "there is no such service"});
    bool serving = false;
    {
      MutexLock lock(&service_->mutex_);
      serving = service_->serving_;
    }
    MutexLock lock(&mutex_);
    if (std::exchange(ended_, true)) return;
    bytes_ = Answer(StatusOf(serving));
    StartWriteAndFinish(&bytes_, grpc::WriteOptions(), grpc::Status::OK);
  }

  // Any thread.
  void Tell(bool serving) {
    MutexLock lock(&mutex_);
    const auto status = known_ ? StatusOf(serving) : HealthCheckResponse::SERVICE_UNKNOWN;
    if (status == wanted_) return;
    wanted_ = status;
    if (!writing_) Write();
  }

  void End(grpc::Status status) {
    MutexLock lock(&mutex_);
    if (!std::exchange(ended_, true)) Finish(std::move(status));
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End({grpc::CANCELLED, "the watcher has gone"});
    MutexLock lock(&mutex_);
    writing_ = false;
    if (wanted_ != written_) Write();
  }

  void OnCancel() override { End({grpc::CANCELLED, "the caller has gone"}); }

  void OnDone() override {
    {
      MutexLock lock(&service_->mutex_);
      service_->watchers_.erase(this);
    }
    calls_->Leave(place_);
    delete this;
  }

 private:
  HealthCheckResponse::ServingStatus StatusOf(bool serving) const {
    return serving || is_liveness_ ? HealthCheckResponse::SERVING
                                   : HealthCheckResponse::NOT_SERVING;
  }

  bool Parse(HealthCheckRequest* request) {
    std::vector<grpc::Slice> slices;
    if (!bytes_.Dump(&slices).ok()) return false;
    std::string text;
    for (const grpc::Slice& slice : slices) {
      absl::StrAppend(
          &text, absl::string_view(reinterpret_cast<const char*>(slice.begin()), slice.size()));
    }
    return request->ParseFromString(text);
  }

  void Watch() {
    MutexLock lock(&service_->mutex_);
    if (service_->stopping_) return End({grpc::UNAVAILABLE, "the server is stopping"});
    service_->watchers_.insert(this);
    Tell(service_->serving_);
  }

  void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (ended_) return;
    writing_ = true;
    written_ = wanted_;
    bytes_ = Answer(wanted_);
    StartWrite(&bytes_);
  }

  HealthService* const service_;
  const bool watches_;
  OpenCalls* const calls_;
  OpenCalls::Id place_;
  grpc::ByteBuffer bytes_;  // read into, later written from
  bool known_ = false;
  bool is_liveness_ = false;
  Mutex mutex_;  // taken after the service's
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  HealthCheckResponse::ServingStatus wanted_ ABSL_GUARDED_BY(mutex_) = HealthCheckResponse::UNKNOWN;
  HealthCheckResponse::ServingStatus written_ ABSL_GUARDED_BY(mutex_) =
      HealthCheckResponse::UNKNOWN;
};

HealthService::HealthService(const std::vector<std::string>& names)
    : names_(names.begin(), names.end()) {
  AddMethod("/grpc.health.v1.Health/Check",
            [this](grpc::CallbackServerContext*) { return new Call(this, /*watches=*/false); });
  AddMethod("/grpc.health.v1.Health/Watch",
            [this](grpc::CallbackServerContext*) { return new Call(this, /*watches=*/true); });
}

void HealthService::SetServing(bool serving) {
  MutexLock lock(&mutex_);
  serving_ = serving;
  for (Call* call : watchers_) call->Tell(serving);
}

void HealthService::Stop() {
  MutexLock lock(&mutex_);
  stopping_ = true;
  for (Call* call : watchers_) call->End({grpc::UNAVAILABLE, "the server is stopping"});
}

}  // namespace llava::rpc
