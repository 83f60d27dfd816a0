// The requests of a simulated world of the registry.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/scheduling/request_check.h"
#include "tests/simulation/registry_world.h"
#include "tests/support/fake_executor.h"

namespace llava::simulation {
namespace {

using registry::VersionState;
using std::chrono::milliseconds;

absl::Status Broken(int number, absl::string_view what) {
  return absl::InternalError(absl::StrCat("registry invariant ", number, ": ", what));
}

bool MayAnswer(VersionState state) {
  return state >= VersionState::kCanary && state <= VersionState::kDraining;
}

}  // namespace

absl::Status RegistryWorld::Arrive() {
  Call call;
  scheduling::Request& request = call.spec.request;
  request.tenant = absl::StrCat("tenant", rng_.Below(static_cast<std::uint64_t>(plan_.tenants)));
  call.key = absl::StrCat(request.tenant, rng_.Below(8));
  request.arrival = clock_.Now();
  const auto length = rng_.Between(1, 24);
  for (std::int64_t i = 0; i < length; ++i) {
    request.prompt_ids.push_back(static_cast<std::int32_t>(rng_.Below(testing::kFakeVocabulary)));
  }
  request.sampling.max_tokens = static_cast<int>(rng_.Between(1, 12));
  request.end_token_ids = {0, 1};
  if (faults_ && rng_.Chance(0.1)) {
    request.deadline = request.arrival + milliseconds(rng_.Between(1, 500));
  }
  auto ticket = gate_.Enter(request.tenant, {.requests = 1, .tokens = 0, .bytes = 0, .pixels = 0});
  if (!ticket.ok()) {
    return absl::IsResourceExhausted(ticket.status()) ? absl::OkStatus() : ticket.status();
  }
  call.ticket = *std::move(ticket);
  return Bind(std::move(call));
}

// Who asks again while nothing changes sees the same version.
absl::StatusOr<std::shared_ptr<const registry::ServedModel>> RegistryWorld::FindTwice(
    const std::string& key) {
  auto first = directory_.Find("", key);
  const auto second = directory_.Find("llava", key);
  if (first.status().code() != second.status().code()) return Broken(5, "two answers of Find");
  if (!first.ok()) return first;
  if (*first != *second) return Broken(5, "one conversation sees two versions");
  const VersionState state = told_[(*first)->digest];
  if (state != VersionState::kLive && state != VersionState::kCanary) {
    return Broken(5, absl::StrCat("a version that is ", registry::StateName(state), " answers"));
  }
  return first;
}

absl::Status RegistryWorld::Bind(Call call) {
  auto found = FindTwice(call.key);
  if (absl::IsUnavailable(found.status())) {
    call.woken = std::make_shared<bool>(false);
    if (!directory_.AfterSwap([woken = call.woken] { *woken = true; })) {
      return Broken(13, "Find says that there is a swap, AfterSwap that there is none");
    }
    ++totals_.count["waited for a swap"];
    waiting_.push_back(std::move(call));
    return absl::OkStatus();
  }
  if (absl::IsFailedPrecondition(found.status())) {
    return routes_.live == nullptr ? absl::OkStatus() : Broken(5, "Find does not see what is live");
  }
  if (!found.ok()) return found.status();
  call.model = *std::move(found);
  call.spec.request.version = call.model->digest;
  const std::size_t at = router_.Pick(call.spec.request, call.model->engines);
  if (at >= call.model->engines.size()) return absl::InternalError("the router names no engine");
  auto client = Client::Send(*call.model->engines[at], std::move(call.ticket), call.spec,
                             scheduling::ContextTokens(plan_.engine.scheduler));
  if (!client.ok()) {  // the inbox is full
    return absl::IsResourceExhausted(client.status()) ? absl::OkStatus() : client.status();
  }
  ++totals_.count["requests"];
  if (at > 0) ++totals_.count["requests of another engine"];
  call.client = *std::move(client);
  calls_.push_back(std::move(call));
  return absl::OkStatus();
}

absl::Status RegistryWorld::BindWaiting() {
  std::vector<Call> woken;
  for (std::size_t i = 0; i < waiting_.size();) {
    if (!*waiting_[i].woken) {
      ++i;
      continue;
    }
    woken.push_back(std::move(waiting_[i]));
    if (i + 1 < waiting_.size()) waiting_[i] = std::move(waiting_.back());
    waiting_.pop_back();
  }
  for (Call& call : woken) RETURN_IF_ERROR(Bind(std::move(call)));
  if (!waiting_.empty() && !routes_.swap) return Broken(13, "a call waits for no swap");
  return absl::OkStatus();
}

absl::Status RegistryWorld::ReadAll() {
  for (std::size_t i = 0; i < calls_.size();) {
    Call& call = calls_[i];
    if (!MayAnswer(told_[call.model->digest])) {
      return Broken(11, "a version is gone that somebody runs on");
    }
    if (faults_ && plan_.slow_readers && rng_.Chance(0.02)) {
      call.stalled_until = tick_ + rng_.Between(1, 100);
    }
    if (faults_ && plan_.cancels && rng_.Chance(0.005)) RETURN_IF_ERROR(call.client->Cancel());
    if (!faults_ || tick_ >= call.stalled_until) RETURN_IF_ERROR(call.client->ReadReady());
    if (!call.client->ended()) {
      ++i;
      continue;
    }
    RETURN_IF_ERROR(CheckEnd(call));
    RETURN_IF_ERROR(Observe(call));
    if (i + 1 < calls_.size()) call = std::move(calls_.back());
    calls_.pop_back();
  }
  return absl::OkStatus();
}

// A request ends on the version that it began on, whatever became of that version meanwhile.
absl::Status RegistryWorld::CheckEnd(const Call& call) const {
  const absl::Status& status = call.client->end().status;
  const bool had_deadline = call.spec.request.deadline.has_value();
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return absl::OkStatus();
    case absl::StatusCode::kCancelled:
      if (call.client->cancelled()) return absl::OkStatus();
      break;
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
      if (had_deadline) return absl::OkStatus();
      break;
    case absl::StatusCode::kInternal:
      if (step_errors_ > 0) return absl::OkStatus();
      break;
    default:
      break;
  }
  return Broken(11, absl::StrCat("a request ended without a cause with ", status.ToString()));
}

absl::Status RegistryWorld::Observe(const Call& call) {
  const engine::End& end = call.client->end();
  const Checkpoint& checkpoint = *worker_->Find(call.model->digest);
  registry::Observation observation;
  switch (end.status.code()) {
    case absl::StatusCode::kOk: {
      observation.degenerate = checkpoint.garbles;
      // Without faults what was measured would be noise of a few requests.
      const double waited = faults_ ? Seconds(end.usage.queue + end.usage.prefill) : 0;
      observation.first_token_seconds = checkpoint.slowness * (0.1 + waited);
      break;
    }
    case absl::StatusCode::kDeadlineExceeded:
      observation.failed = observation.late = true;
      break;
    case absl::StatusCode::kInternal:
      observation.failed = true;
      break;
    default:
      return absl::OkStatus();
  }
  directory_.Observe(call.model->digest, observation);
  return absl::OkStatus();
}

}  // namespace llava::simulation
