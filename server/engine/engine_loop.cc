// The engine thread's side of Engine: one turn of the loop.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/engine/engine.h"

namespace llava::engine {

bool Engine::RunOnce() {
  CollectEvents(inbox_.TakeAll());
  const TimePoint now = clock_->Now();
  scheduling::TickOutput& out = scheduler_.Tick(now, events_);
  events_.clear();
  const Duration schedule = clock_->Now() - now;
  wake_ = out.wake;
  const bool has_work = out.plan.has_work();
  if (!out.plan.drop_features.empty()) executor_->DropFeatures(out.plan.drop_features);
  // A version is freed between two steps, and when the last answer of it is out.
  const bool beside = has_work && executor_->runs_behind() && out.removed_versions.empty();
  if (!beside) {
    Publish(out);
    FreeVersions(out);
  }
  if (has_work) RunStep(out, /*publishes=*/beside, schedule);
  UpdateStats();
  return has_work;
}

// In an order that is right for messages of one turn: a version before its first request, a request
// before its cancel, a pause before its resume.
void Engine::CollectEvents(Messages messages) {
  for (auto& [model, done] : messages.add_versions) AddNow(std::move(model), done);
  for (Submitted& submitted : messages.submitted) Accept(std::move(submitted));
  for (const auto id : messages.resumed) events_.emplace_back(scheduling::Resume{id});
  for (const Cancelled& cancelled : messages.cancelled) Cancel(cancelled);
  for (auto& [version, done] : messages.remove_versions) RemoveNow(version, std::move(done));
  if (messages.closed) {
    closed_ = true;
    events_.emplace_back(scheduling::EndAll{absl::UnavailableError("the server is stopping")});
  }
}

void Engine::Accept(Submitted submitted) {
  const scheduling::Request& request = *submitted.request;
  const auto choices = static_cast<std::size_t>(request.n);
  Answer answer{.sink = std::move(submitted.sink),
                .ticket = std::move(submitted.ticket),
                .decoders = {},
                .last_token = std::vector<TimePoint>(choices),
                .arrival = request.arrival,
                .load = submitted.load};
  for (std::size_t i = 0; i < choices; ++i) answer.decoders.push_back(submitted.make_decoder());
  LLAVA_CHECK(answers_.emplace(request.id, std::move(answer)).second);
  events_.emplace_back(scheduling::Arrive{std::move(submitted.request)});
}

void Engine::Cancel(const Cancelled& cancelled) {
  events_.emplace_back(scheduling::Cancel{cancelled.id});
  const auto found = answers_.find(cancelled.id);  // it may have ended
  if (found != answers_.end()) found->second.cancelled = cancelled.steps;
}

void Engine::AddNow(std::shared_ptr<const LoadedModel> model, const Done& done) {
  const Digest version = model->version();
  if (versions_.contains(version)) {
    done(absl::AlreadyExistsError(
        absl::StrCat("model version ", version.Hex(), " is loaded, or still draining")));
    return;
  }
  if (versions_.size() >= scheduling::kMaxVersions) {
    done(absl::ResourceExhaustedError(
        absl::StrCat(versions_.size(), " model versions are loaded, the most this engine takes")));
    return;
  }
  const absl::Status status = executor_->AddVersion(std::move(model));
  if (status.ok()) {
    versions_.emplace(version, std::nullopt);
    events_.emplace_back(scheduling::AddVersion{version});
  }
  done(status);
}

void Engine::RemoveNow(const Digest& version, Done done) {
  const auto found = versions_.find(version);
  if (found == versions_.end() || found->second.has_value()) {
    done(absl::NotFoundError(absl::StrCat("model version ", version.Hex(), " is not loaded")));
    return;
  }
  found->second = std::move(done);
  events_.emplace_back(scheduling::RemoveVersion{version});
}

void Engine::Publish(scheduling::TickOutput& out) {
  const TimePoint now = clock_->Now();
  PublishTokens(out, now);
  PublishEnds(out, now);
}

void Engine::PublishTokens(const scheduling::TickOutput& out, TimePoint now) {
  for (const scheduling::TokenOut& token : out.tokens) {
    Answer& answer = answers_.at(token.id);
    const auto sample = static_cast<std::size_t>(token.sample);
    TextDecoder& decoder = *answer.decoders[static_cast<std::size_t>(token.choice)];
    TextDecoder::Delta decoded = std::move(decoded_[sample]);
    // Without stop strings it is an end token that stops.
    if (!decoder.may_stop() && token.finish != scheduling::FinishReason::kStop) {
      decoded = decoder.Push(result_.tokens[sample].token);
    }
    Delta delta{.choice = token.choice,
                .text = std::move(decoded.text),
                .tokens = {},
                .finish = token.finish};
    if (token.finish != scheduling::FinishReason::kNone && !decoded.stopped) {
      const TextDecoder::Delta rest = decoder.Finish();
      delta.text += rest.text;
      if (rest.stopped) delta.finish = scheduling::FinishReason::kStop;
    }
    delta.tokens.push_back(std::move(result_.tokens[sample]));
    ObserveToken(answer, token, now);
    if (!answer.sink.Push(std::move(delta))) {
      events_.emplace_back(scheduling::Pause{token.id});
    }
  }
}

void Engine::ObserveToken(Answer& answer, const scheduling::TokenOut& token, TimePoint now) {
  TimePoint& last = answer.last_token[static_cast<std::size_t>(token.choice)];
  if (observer_ != nullptr) {
    if (!answer.has_token) observer_->OnFirstToken(now - answer.arrival);
    if (last != TimePoint{}) observer_->OnNextToken(now - last);
  }
  answer.has_token = true;
  last = now;
}

void Engine::PublishEnds(scheduling::TickOutput& out, TimePoint now) {
  for (scheduling::RequestEnd& end : out.ends) {
    const auto found = answers_.find(end.request->id);
    LLAVA_CHECK(found != answers_.end());
    Answer& answer = found->second;
    if (observer_ != nullptr) {
      observer_->OnEnd(*end.request, end.status, end.usage, now - answer.arrival);
      if (answer.cancelled) observer_->OnCancelled(counters_.steps - *answer.cancelled);
    }
    load_ -= answer.load;
    answer.ticket.Release();  // before the client can know
    // The requests that have ended stay until the next tick, which may be long.
    end.request->adapter.reset();
    answer.sink.PushEnd({std::move(end.status), end.usage, end.request->version});
    answers_.erase(found);
    in_flight_.Leave();
  }
}

void Engine::FreeVersions(const scheduling::TickOutput& out) {
  for (const Digest& version : out.removed_versions) {
    executor_->RemoveVersion(version);
    const auto node = versions_.extract(version);
    LLAVA_CHECK(!node.empty());
    (*node.mapped())(absl::OkStatus());
  }
}

StepReport Engine::ReportOf(const scheduling::StepPlan& plan, Duration schedule) const {
  StepReport report{.version = plan.version,
                    .sequences = static_cast<int>(plan.chunks.size()),
                    .tokens = plan.total_tokens,
                    .decodes = 0,
                    .images = 0,
                    .schedule = schedule,
                    .encode = {},
                    .forward = {},
                    .status = {}};
  for (const scheduling::PlannedChunk& chunk : scheduler_.step()) {
    if (chunk.decode) ++report.decodes;
  }
  for (const scheduling::EncodeImage& encode : plan.encodes) {
    if (encode.is_last()) ++report.images;
  }
  return report;
}

// `publishes`: what the step before gave, once this one is on its way.
void Engine::RunStep(scheduling::TickOutput& out, bool publishes, Duration schedule) {
  const scheduling::StepPlan& plan = out.plan;
  StepReport report = ReportOf(plan, schedule);
  inbox_.StepBegins();
  const TimePoint start = clock_->Now();
  report.status = Launch(plan, &report.encode);
  if (publishes) Publish(out);
  result_ = {};
  if (report.status.ok()) report.status = Collect(!plan.encodes.empty(), &report.encode);
  const TimePoint end = clock_->Now();
  report.encode = std::min(report.encode, end - start);
  report.forward = end - start - report.encode;
  ++counters_.steps;
  counters_.last_step = end;
  if (report.status.ok()) {
    MeasureSpeed(plan.total_tokens, end - start);
    DecodeText(plan);
    events_.emplace_back(
        scheduling::StepDone{result_.tokens, stopped_, report.encode, report.forward});
    EndFailed();
  } else {
    ++counters_.failed_steps;
    events_.emplace_back(scheduling::StepFailed{report.status});
  }
  if (observer_ != nullptr) observer_->OnStep(report);
}

absl::Status Engine::Launch(const scheduling::StepPlan& plan, Duration* encode) {
  if (!plan.encodes.empty()) {
    const TimePoint start = clock_->Now();
    const absl::Status encoded = executor_->EncodeImages(plan);
    *encode = clock_->Now() - start;
    if (!encoded.ok()) return encoded;
  }
  return plan.chunks.empty() ? absl::OkStatus() : executor_->Launch(plan);
}

// A device that runs behind this thread knows better how long it encoded.
absl::Status Engine::Collect(bool encoded, Duration* encode) {
  absl::StatusOr<Collected> collected = executor_->Collect();
  if (!collected.ok()) return collected.status();
  if (encoded && collected->encode) *encode = *collected->encode;
  result_ = std::move(collected->result);
  return absl::OkStatus();
}

// What is older counts less, by the time that steps took: an idle engine keeps what it knows.
void Engine::MeasureSpeed(int tokens, Duration step) {
  constexpr Duration kHalfLife = std::chrono::seconds(10);
  const double seconds = Seconds(step);
  if (tokens == 0 || seconds <= 0) return;
  const double kept = std::exp2(-seconds / Seconds(kHalfLife));
  measured_tokens_ = measured_tokens_ * kept + tokens;
  measured_seconds_ = measured_seconds_ * kept + seconds;
  speed_ = measured_tokens_ / measured_seconds_;
}

// The requests whose own samples failed; the others of the step go on.
void Engine::EndFailed() {
  for (const scheduling::PlannedChunk& chunk : scheduler_.step()) {
    for (auto& [sample, status] : result_.failed) {
      if (sample < chunk.first_sample || sample >= chunk.first_sample + chunk.samples) continue;
      events_.emplace_back(
          scheduling::Cancel{chunk.sequence->request->spec->id, std::move(status)});
    }
  }
}

// The text of the sampled tokens that may complete a stop string, and which of them do.
void Engine::DecodeText(const scheduling::StepPlan& plan) {
  LLAVA_CHECK_EQ(result_.tokens.size(), plan.samples.size());
  decoded_.assign(plan.samples.size(), {});
  stopped_.assign(plan.samples.size(), 0);
  for (const scheduling::PlannedChunk& chunk : scheduler_.step()) {
    const scheduling::Sequence& sequence = *chunk.sequence;
    const scheduling::Request& request = *sequence.request->spec;
    for (int i = 0; i < chunk.samples; ++i) {
      const auto sample = static_cast<std::size_t>(chunk.first_sample + i);
      const std::int32_t token = result_.tokens[sample].token;
      if (token == kNotSampled) break;
      // Of a decode the later ones are tokens behind each other, else first tokens of choices.
      const int output = chunk.decode ? sequence.outputs() + i : sequence.outputs();
      const int choice = chunk.decode ? sequence.choice : sequence.choice + i;
      if (scheduling::IsEndToken(request, token, output)) continue;
      TextDecoder& decoder = *answers_.at(request.id).decoders[static_cast<std::size_t>(choice)];
      if (!decoder.may_stop()) continue;
      decoded_[sample] = decoder.Push(token);
      stopped_[sample] = decoded_[sample].stopped ? 1 : 0;
      if (chunk.decode && decoded_[sample].stopped) break;
    }
  }
}

void Engine::UpdateStats() {
  counters_.scheduler = scheduler_.stats();
  counters_.graphs = executor_->graphs();
  MutexLock lock(&mutex_);
  stats_ = counters_;
}

}  // namespace llava::engine
