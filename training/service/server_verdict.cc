#include "training/service/server_verdict.h"

#include <grpc/support/time.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "llava/v1/models.grpc.pb.h"
#include "model/checkpoint/manifest.h"
#include "training/endpoint/endpoint_options.h"
#include "training/publish/file_layer.h"
#include "training/publish/publish.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxPemBytes = std::size_t{1} << 20;
constexpr std::size_t kShownDigits = 12;
constexpr Duration kAnswerTime = std::chrono::seconds(20);  // for one answer, also for the last
constexpr int kMostReconnectMs = 10'000;                    // a daemon restarts within minutes
constexpr char kRolledBack[] = "rolled back: ";             // so begin a daemon's reasons

using Verdict = std::optional<ServerVerdict>;  // nothing: not yet

gpr_timespec After(Duration wait) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_millis(std::max<std::int64_t>(ms, 1), GPR_TIMESPAN));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServingDaemon& daemon) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMostReconnectMs);
  if (daemon.ca.empty()) {
    return grpc::CreateCustomChannel(daemon.address, grpc::InsecureChannelCredentials(), arguments);
  }
  grpc::SslCredentialsOptions ssl;
  ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadFile(daemon.ca, kMaxPemBytes));
  return grpc::CreateCustomChannel(daemon.address, grpc::SslCredentials(ssl), arguments);
}

absl::StatusOr<std::string> ReadToken(const ServingDaemon& daemon) {
  EndpointOptions secret;
  secret.api_key_file = daemon.token_file;
  return LoadApiKey(secret);
}

// "canary" of VERSION_STATE_CANARY. A newer daemon may have states that have no name here.
std::string StateWord(v1::VersionState state) {
  const std::string& name = v1::VersionState_Name(state);
  absl::string_view word = name;
  if (!absl::ConsumePrefix(&word, "VERSION_STATE_")) {
    return absl::StrCat("state ", static_cast<int>(state));
  }
  return absl::AsciiStrToLower(word);
}

bool WasLive(const v1::ListResponse& list, const std::string& version) {
  return std::any_of(list.events().begin(), list.events().end(), [&](const v1::ModelEvent& event) {
    return event.version() == version && event.state() == v1::VERSION_STATE_LIVE;
  });
}

// Errors that asking again does not mend.
bool IsFinal(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::INVALID_ARGUMENT:
      return true;
    default:
      return false;
  }
}

ServerVerdict TakenBack(absl::string_view reason) {
  absl::ConsumePrefix(&reason, kRolledBack);
  const std::string line = absl::StrReplaceAll(reason, {{"\n", " "}});
  return {false, line.empty() ? "nobody noted why" : line};
}

// Not by gRPC's means: those last longer when the wall clock is set back meanwhile.
void Pause(TimePoint until, const Clock& clock) {
  Mutex mutex;
  CondVar nothing_comes;
  MutexLock lock(&mutex);
  while (clock.Now() < until) nothing_comes.WaitUntil(&mutex, until);
}

// The folder of published versions.
std::string RootOf(const std::string& dir) {
  const fs::path path = fs::absolute(dir).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).parent_path().string();
}

// One version, one daemon.
class Question {
 public:
  Question(const ServingDaemon& daemon, std::string version, const std::string& dir)
      : daemon_(daemon), version_(std::move(version)), root_(RootOf(dir)) {}

  absl::Status Open() {
    ASSIGN_OR_RETURN(token_, ReadToken(daemon_));
    ASSIGN_OR_RETURN(channel_, Connect(daemon_));
    stub_ = v1::ModelService::NewStub(channel_);
    return absl::OkStatus();
  }

  absl::StatusOr<Verdict> Ask() {
    grpc::ClientContext context;
    context.set_deadline(After(kAnswerTime));
    if (!token_.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", token_));
    v1::ListResponse list;
    const grpc::Status status = stub_->List(&context, {}, &list);
    if (status.ok()) return Read(list);
    const std::string why = absl::StrCat(daemon_.address, ": ", status.error_message());
    // The codes have the same numbers.
    if (IsFinal(status)) return absl::Status(absl::StatusCode(status.error_code()), why);
    how_far_ = why;
    return Verdict();
  }

  // There is no more time.
  absl::StatusOr<ServerVerdict> AtTheEnd() const {
    if (taken_back_) {
      RealFiles files;
      RETURN_IF_ERROR(NoteRollback(root_, version_, taken_back_->reason, files));
      return *taken_back_;
    }
    return absl::DeadlineExceededError(
        absl::StrCat("no verdict within ",
                     absl::FormatDuration(absl::Seconds(daemon_.wait_seconds)), ": ", how_far_));
  }

 private:
  absl::StatusOr<Verdict> Read(const v1::ListResponse& list) {
    taken_back_.reset();
    const std::string name = version_.substr(0, kShownDigits);
    const auto found =
        std::find_if(list.versions().begin(), list.versions().end(),
                     [&](const v1::ModelVersion& other) { return other.version() == version_; });
    if (found == list.versions().end()) {
      how_far_ = absl::StrCat(daemon_.address, " does not know version ", name);
      return Verdict();
    }
    how_far_ =
        absl::StrCat("version ", name, " is ", StateWord(found->state()), " at ", daemon_.address);
    if (found->state() == v1::VERSION_STATE_REJECTED) return ReadRejected(*found);
    const bool live =
        found->state() == v1::VERSION_STATE_LIVE || found->state() == v1::VERSION_STATE_KEPT;
    // One that goes may have been live, until a newer one came; or is about to be rejected.
    const bool gone = found->state() == v1::VERSION_STATE_FREED && WasLive(list, version_);
    if (live || gone) return Verdict(ServerVerdict{true, ""});
    return Verdict();
  }

  absl::StatusOr<Verdict> ReadRejected(const v1::ModelVersion& rejected) {
    const std::optional<std::string> note = RollbackNote(root_, version_);
    if (note) return Verdict(TakenBack(note->empty() ? rejected.reason() : *note));
    if (!absl::StartsWith(rejected.reason(), kRolledBack)) {
      return absl::FailedPreconditionError(
          absl::StrCat(daemon_.address, " does not take the version: ", rejected.reason()));
    }
    taken_back_ = TakenBack(rejected.reason());
    return Verdict();
  }

  const ServingDaemon& daemon_;
  const std::string version_;
  const std::string root_;
  std::string token_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ModelService::Stub> stub_;
  std::string how_far_ = "it was not asked";
  Verdict taken_back_;  // unless the daemon tries it again
};

}  // namespace

absl::StatusOr<ServerVerdict> AwaitVerdict(const ServingDaemon& daemon, const std::string& dir,
                                           const Clock& clock) {
  ASSIGN_OR_RETURN(const model::CheckpointVersion read, model::ReadManifest(dir));
  Question question(daemon, read.version, dir);
  RETURN_IF_ERROR(question.Open());
  const TimePoint end = clock.Now() + std::chrono::seconds(daemon.wait_seconds);
  for (;;) {
    ASSIGN_OR_RETURN(const Verdict verdict, question.Ask());
    if (verdict) return *verdict;
    if (clock.Now() >= end) return question.AtTheEnd();
    Pause(std::min(end, clock.Now() + daemon.pause), clock);
  }
}

}  // namespace llava::training
