#include "server/engine/engine.h"

#include <pthread.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/scheduling/admission.h"
#include "server/scheduling/request_check.h"

namespace llava::engine {
namespace {

// The inbox is emptied between two steps, and steps take tens of milliseconds: by then there is
// room.
constexpr Duration kInboxRetry = std::chrono::milliseconds(200);

}  // namespace

Engine::Engine(const EngineOptions& options, std::unique_ptr<Executor> executor, const Clock* clock,
               Observer* observer)
    : options_(options),
      clock_(clock),
      observer_(observer),
      inbox_(static_cast<std::size_t>(options.inbox_capacity)),
      executor_(std::move(executor)),
      scheduler_(options.scheduler, options.marks) {
  LLAVA_CHECK_GT(options.stream_tokens, 0);
  LLAVA_CHECK_LE(options.stream_tokens, scheduling::kMaxStreamTokens);
  UpdateStats();
}

Engine::~Engine() { Stop(); }

void Engine::Start() {
  LLAVA_CHECK(!thread_.joinable());
  thread_ = std::jthread([this] { Run(); });
  // Names longer than 15 bytes are cut by the system's rules, not by an error we could act on.
  pthread_setname_np(thread_.native_handle(), options_.name.substr(0, 15).c_str());
}

void Engine::Run() {
  while (!closed_) {
    if (!RunOnce() && !closed_) inbox_.Wait(wake_);
  }
}

absl::StatusOr<TokenStream> Engine::Submit(Submission submission) {
  scheduling::Request& request = submission.request;
  const absl::Status status = scheduling::CheckRequest(request, options_.scheduler);
  if (!status.ok()) return status;
  if (!in_flight_.Enter()) return absl::UnavailableError("the engine is shutting down");
  request.id = scheduling::RequestId(last_id_.fetch_add(1) + 1);
  const std::int64_t load = scheduling::MostTokens(request);
  load_ += load;
  auto [sink, stream] =
      MakeTokenStream(request.id, static_cast<std::size_t>(options_.stream_tokens), &inbox_);
  Submitted submitted{std::make_unique<scheduling::Request>(std::move(request)),
                      std::move(submission.ticket), std::move(submission.make_decoder),
                      std::move(sink), load};
  if (inbox_.TrySubmit(submitted)) return std::move(stream);
  submitted.sink.PushEnd({});  // nobody reads it
  load_ -= load;
  in_flight_.Leave();
  return scheduling::WithRetryAfter(
      absl::ResourceExhaustedError(
          absl::StrCat("the engine's inbox is full (", options_.inbox_capacity, " requests)")),
      kInboxRetry);
}

void Engine::AddVersion(std::shared_ptr<const LoadedModel> model, Done done) {
  inbox_.AddVersion(std::move(model), std::move(done));
}

void Engine::RemoveVersion(const Digest& version, Done done) {
  inbox_.RemoveVersion(version, std::move(done));
}

bool Engine::Drain(TimePoint deadline) { return in_flight_.CloseAndWait(deadline); }

void Engine::Stop() {
  in_flight_.Close();
  inbox_.Close();
  if (thread_.joinable()) {
    thread_.join();
  } else if (!closed_) {
    RunOnce();
  }
  LLAVA_CHECK(answers_.empty());
}

EngineStats Engine::stats() const {
  MutexLock lock(&mutex_);
  return stats_;
}

std::int64_t Engine::load() const { return load_; }

}  // namespace llava::engine
