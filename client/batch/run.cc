#include "client/batch/run.h"

#include <grpc/support/time.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::client {
namespace {

constexpr Duration kFirstPause = std::chrono::milliseconds(250);
constexpr Duration kLongestPause = std::chrono::seconds(15);
constexpr Duration kReportInterval = std::chrono::seconds(1);
constexpr int kMostTimeouts = 3;

absl::Status ToAbsl(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// A full queue says when to come again; a message that is too large for gRPC never will.
bool IsFull(const grpc::Status& status) {
  return status.error_code() == grpc::RESOURCE_EXHAUSTED && !status.error_details().empty();
}

bool IsAway(const grpc::Status& status) {
  return status.error_code() == grpc::UNAVAILABLE ||
         status.error_code() == grpc::FAILED_PRECONDITION;  // no version is live
}

// Every other row would be refused for the same.
bool ConcernsAll(const grpc::Status& status) {
  return status.error_code() == grpc::UNAUTHENTICATED ||
         status.error_code() == grpc::PERMISSION_DENIED ||
         status.error_code() == grpc::UNIMPLEMENTED || status.error_code() == grpc::NOT_FOUND;
}

}  // namespace

class BatchRun::Call {
 public:
  Call(std::string id, v1::ChatRequest request)
      : id_(std::move(id)), request_(std::move(request)) {}

  const std::string& id() const { return id_; }
  const v1::ChatResponse& response() const { return response_; }
  const grpc::Status& status() const { return status_; }
  bool is_waiting() const { return due_ != TimePoint{}; }
  TimePoint due() const { return due_; }
  int timeouts() const { return timeouts_; }

  // `ended` is called in a thread of gRPC's.
  void Send(v1::ChatService::Stub* stub, const Identify& identify, Duration timeout,
            std::function<void()> ended) {
    due_ = {};
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_deadline(gpr_time_from_nanos(timeout.count(), GPR_TIMESPAN));
    identify(context_.get());
    stub->async()->Chat(context_.get(), &request_, &response_,
                        [this, ended = std::move(ended)](grpc::Status status) {
                          status_ = std::move(status);
                          ended();
                        });
  }

  void WaitUntilAsked(TimePoint now) {
    timeouts_ += status_.error_code() == grpc::DEADLINE_EXCEEDED ? 1 : 0;
    due_ = now + pause_;
    pause_ = std::min(2 * pause_, kLongestPause);
  }

  void Cancel() { context_->TryCancel(); }

 private:
  const std::string id_;
  const v1::ChatRequest request_;
  v1::ChatResponse response_;
  std::unique_ptr<grpc::ClientContext> context_;
  grpc::Status status_;
  TimePoint due_{};  // zero: on the wire
  Duration pause_ = kFirstPause;
  int timeouts_ = 0;
};

BatchRun::BatchRun(const BatchOptions* options, BatchOutput* output, v1::ChatService::Stub* stub,
                   Identify identify, const Clock* clock, Report report)
    : options_(options),
      output_(output),
      stub_(stub),
      identify_(std::move(identify)),
      clock_(clock),
      report_(std::move(report)) {}

// Calls that are under way end before what they write to.
BatchRun::~BatchRun() {
  for (const auto& call : calls_) {
    if (!call->is_waiting()) call->Cancel();
  }
  MutexLock lock(&mutex_);
  while (on_the_wire_ > 0) changed_.Wait(&mutex_);
}

absl::Status BatchRun::Run() {
  RETURN_IF_ERROR(Count());
  last_answer_ = clock_->Now();
  RETURN_IF_ERROR(ForEachItem(options_->input, [this](const BatchItem& item) {
    return output_->done().Has(item.id) ? absl::OkStatus() : Ask(item);
  }));
  RETURN_IF_ERROR(WaitUntilFewer(1));
  report_(progress_);
  return output_->Sync();
}

absl::Status BatchRun::Count() {
  IdSet ids;
  RETURN_IF_ERROR(ForEachItem(options_->input, [&](const BatchItem& item) -> absl::Status {
    if (!ids.Add(item.id)) {
      return absl::InvalidArgumentError(
          absl::StrCat(options_->input, ": the id \"", item.id, "\" occurs twice"));
    }
    progress_.before += output_->done().Has(item.id) ? 1 : 0;
    return absl::OkStatus();
  }));
  progress_.total = static_cast<std::int64_t>(ids.size());
  if (progress_.total == 0) {
    return absl::NotFoundError(absl::StrCat(options_->input, ": there is nothing to ask about"));
  }
  return absl::OkStatus();
}

absl::Status BatchRun::Ask(const BatchItem& item) {
  RETURN_IF_ERROR(WaitUntilFewer(static_cast<std::size_t>(options_->concurrency)));
  auto request = RequestOf(item, options_->input, options_->defaults);
  if (!request.ok()) return Fail(item.id, std::string(request.status().message()));
  calls_.push_back(std::make_unique<Call>(item.id, *std::move(request)));
  Send(calls_.back().get());
  return absl::OkStatus();
}

// Settles what ends meanwhile.
absl::Status BatchRun::WaitUntilFewer(std::size_t calls) {
  while (calls_.size() >= calls) {
    RETURN_IF_ERROR(ReportSometimes());
    Call* ended = NextEnded(std::min(SendDue(), clock_->Now() + kReportInterval));
    if (ended != nullptr) RETURN_IF_ERROR(Settle(ended));
  }
  return absl::OkStatus();
}

// None when `until` passes before.
BatchRun::Call* BatchRun::NextEnded(TimePoint until) {
  MutexLock lock(&mutex_);
  while (ended_.empty()) {
    if (!changed_.WaitUntil(&mutex_, until) && ended_.empty()) return nullptr;
  }
  Call* const call = ended_.front();
  ended_.pop_front();
  return call;
}

// When the next call is due after those that are sent now.
TimePoint BatchRun::SendDue() {
  const TimePoint now = clock_->Now();
  TimePoint next = TimePoint::max();
  for (const auto& call : calls_) {
    if (!call->is_waiting()) continue;
    if (call->due() <= now) {
      Send(call.get());
    } else {
      next = std::min(next, call->due());
    }
  }
  return next;
}

void BatchRun::Send(Call* call) {
  {
    MutexLock lock(&mutex_);
    ++on_the_wire_;
  }
  call->Send(stub_, identify_, options_->timeout, [this, call] {
    MutexLock lock(&mutex_);
    --on_the_wire_;
    ended_.push_back(call);
    changed_.NotifyAll();
  });
}

absl::Status BatchRun::Settle(Call* call) {
  const grpc::Status& status = call->status();
  if (status.ok()) {
    ever_answered_ = true;
    last_answer_ = clock_->Now();
    ++progress_.answered;
    RETURN_IF_ERROR(output_->AddAnswer(call->id(), call->response()));
    Remove(call);
    return absl::OkStatus();
  }
  if (ConcernsAll(status)) return ToAbsl(status);
  if (IsFull(status) || IsAway(status)) return AskAgain(call);
  if (status.error_code() == grpc::DEADLINE_EXCEEDED && call->timeouts() + 1 < kMostTimeouts) {
    return AskAgain(call);
  }
  const std::string id = call->id();
  const std::string reason = status.error_message();
  Remove(call);
  return Fail(id, reason);
}

absl::Status BatchRun::AskAgain(Call* call) {
  const TimePoint now = clock_->Now();
  if (IsAway(call->status()) && (!ever_answered_ || now - last_answer_ > options_->patience)) {
    return absl::UnavailableError(call->status().error_message());
  }
  call->WaitUntilAsked(now);
  return absl::OkStatus();
}

absl::Status BatchRun::Fail(const std::string& id, const std::string& reason) {
  ++progress_.failed;
  return output_->AddFailure(id, reason);
}

void BatchRun::Remove(Call* call) {
  std::erase_if(calls_, [call](const auto& held) { return held.get() == call; });
}

absl::Status BatchRun::ReportSometimes() {
  const TimePoint now = clock_->Now();
  if (now - reported_ < kReportInterval) return absl::OkStatus();
  reported_ = now;
  progress_.under_way = calls_.size();
  report_(progress_);
  return output_->Sync();
}

}  // namespace llava::client
