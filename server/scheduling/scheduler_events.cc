// What happens to requests and versions besides steps: they come, pause, go on, and end.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/scheduling/admission.h"
#include "server/scheduling/request_check.h"
#include "server/scheduling/scheduler.h"

namespace llava::scheduling {

void Scheduler::Apply(Arrive& arrive) {
  Request& request = *arrive.request;
  LLAVA_CHECK(FindState(request.id) == nullptr);
  const int version = FindVersion(request.version);
  absl::Status status;
  if (version < 0 || versions_[static_cast<std::size_t>(version)].draining) {
    status = absl::NotFoundError(
        absl::StrCat("model version ", request.version.Hex(), " is not loaded"));
  }
  if (status.ok() && request.deadline && *request.deadline <= now_) {
    status = absl::DeadlineExceededError("the deadline passed before the request was queued");
  }
  if (!status.ok()) {
    out_.ends.push_back({std::move(arrive.request), std::move(status), Usage{}});
    return;
  }
  const RequestId id = request.id;
  auto made = MakeRequestState(std::move(arrive.request), &last_sequence_id_);
  RequestState& state = *made;
  state.version = version;
  state.others = WorkedForOthers(version);
  state.max_outputs =
      std::min(request.sampling.max_tokens, ContextTokens(options_) - state.usage.prompt_tokens);
  state.urgency = request.deadline.value_or(request.arrival + options_.patience);
  state.urgency = std::min(state.urgency, request.arrival + options_.patience);
  status = CheckDeadline(state);
  if (!status.ok()) {
    Hit(marks_, Mark::kRefusedDeadline);
    out_.ends.push_back({std::move(state.spec), std::move(status), Usage{}});
    return;
  }
  state.tenant = fair_share_.Enter(request.tenant);
  ++versions_[static_cast<std::size_t>(version)].requests;
  if (request.deadline) deadlines_.emplace(*request.deadline, id);
  planner_.Enqueue(state.choices[0].get());
  requests_.emplace(id, std::move(made));
}

// The least that has to be done before the request has its answer.
Work Scheduler::LeastWork(const RequestState& state) {
  const Request& request = *state.spec;
  Sequence& sequence = *state.choices[0];
  const int cached = planner_.PeekCached(sequence);
  Work work{.prompt_tokens = sequence.size() - cached, .images = 0, .decode_steps = 0};
  for (const ImageInput& image : request.images) {
    const bool encoded =
        planner_.features().Has({request.version, request.cache_domain, image.digest});
    if (image.offset + image.count > cached && !encoded) ++work.images;
  }
  // The first token comes from the prompt's last step.
  const SamplingParams& sampling = request.sampling;
  const bool may_stop =
      !sampling.ignore_eos || !sampling.stop.empty() || !sampling.stop_token_ids.empty();
  const int outputs = may_stop ? std::max(1, sampling.min_tokens) : sampling.max_tokens;
  work.decode_steps = std::min(outputs, state.max_outputs) - 1;
  for (const Sequence* other : planner_.running()) {
    if (!other->is_decode() && !other->request->paused) work.prompt_tokens += other->remaining();
  }
  for (const Sequence* other : planner_.waiting().sequences()) {
    if (!other->request->paused && planner_.waiting().GoesBefore(*other, sequence, now_)) {
      work.prompt_tokens += other->size();
    }
  }
  return work;
}

// RESOURCE_EXHAUSTED when even the least that has to be done takes longer than the client waits.
absl::Status Scheduler::CheckDeadline(const RequestState& state) {
  if (!state.spec->deadline) return absl::OkStatus();
  const Duration needed = cost_model_.Estimate(LeastWork(state), now_);
  const Duration given = *state.spec->deadline - now_;
  if (needed <= given) return absl::OkStatus();
  if (IsIdle()) {
    Hit(marks_, Mark::kAdmittedIdle);
    return absl::OkStatus();
  }
  const std::string message =
      absl::StrCat("the deadline cannot be met: it is ", Seconds(given),
                   " s away and the answer takes at least ", Seconds(needed), " s");
  return WithRetryAfter(absl::ResourceExhaustedError(message), needed - given);
}

// Nothing could run but for a new request: then it costs nobody anything to try, and its steps
// correct what is believed of their cost.
bool Scheduler::IsIdle() const { return requests_.size() == static_cast<std::size_t>(paused_); }

void Scheduler::Apply(Cancel& cancel) {
  RequestState* request = FindState(cancel.id);
  if (request == nullptr) {
    Hit(marks_, Mark::kCancelledUnknown);
    return;
  }
  const bool waiting = request->choices[0]->state == SequenceState::kWaiting;
  Hit(marks_, waiting ? Mark::kCancelledWaiting : Mark::kCancelledRunning);
  EndRequest(*request, std::move(cancel.status));
}

void Scheduler::Apply(Pause& pause) {
  RequestState* request = FindState(pause.id);
  if (request == nullptr) return;
  if (!request->paused) ++paused_;
  request->paused = true;
  for (auto& choice : request->choices) planner_.ReleasePins(*choice);
}

void Scheduler::Apply(Resume& resume) {
  RequestState* request = FindState(resume.id);
  if (request == nullptr || !request->paused) return;
  request->paused = false;
  --paused_;
}

void Scheduler::Apply(AddVersion& add) {
  LLAVA_CHECK_LT(FindVersion(add.version), 0);
  auto place = std::find_if(versions_.begin(), versions_.end(),
                            [](const Version& version) { return !version.present; });
  if (place == versions_.end()) place = versions_.emplace(versions_.end());
  LLAVA_CHECK_LE(versions_.size(), static_cast<std::size_t>(kMaxVersions));
  *place = Version{.digest = add.version, .present = true, .draining = false, .requests = 0};
}

void Scheduler::Apply(RemoveVersion& remove) {
  const int index = FindVersion(remove.version);
  LLAVA_CHECK_GE(index, 0);
  versions_[static_cast<std::size_t>(index)].draining = true;
  ReleaseVersion(index);
}

void Scheduler::Apply(EndAll& end) {
  while (!requests_.empty()) EndRequest(*requests_.begin()->second, end.status);
}

void Scheduler::Expire() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    Hit(marks_, Mark::kExpired);
    EndRequest(*FindState(deadlines_.begin()->second),
               absl::DeadlineExceededError("the deadline passed before the answer was complete"));
  }
}

// Frees whatever the request holds, wherever it was.
void Scheduler::EndRequest(RequestState& request, absl::Status status) {
  Usage& usage = request.usage;
  for (auto& choice : request.choices) {
    if (choice->state != SequenceState::kFinished) planner_.Finish(*choice);
    usage.generated_tokens += std::max(0, choice->outputs());  // below 0: it was still pending
  }
  if (request.first_token) {
    usage.decode = now_ - *request.first_token;
    usage.others_next = WorkedForOthers(request.version) - request.others;
  }
  if (!request.first_step) usage.queue = now_ - request.spec->arrival;
  const RequestId id = request.spec->id;
  if (request.spec->deadline) deadlines_.erase({*request.spec->deadline, id});
  fair_share_.Leave(request.spec->tenant);
  if (request.paused) --paused_;
  const int version = request.version;
  out_.ends.push_back({std::move(request.spec), std::move(status), usage});
  requests_.erase(id);  // `request` is gone
  --versions_[static_cast<std::size_t>(version)].requests;
  ReleaseVersion(version);
}

void Scheduler::ReleaseVersion(int index) {
  Version& version = versions_[static_cast<std::size_t>(index)];
  if (!version.draining || version.requests > 0) return;
  Hit(marks_, Mark::kVersionDrained);
  planner_.features().DropVersion(version.digest);
  out_.removed_versions.push_back(version.digest);
  version = Version{};
}

}  // namespace llava::scheduling
