#include "server/scheduling/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace llava::scheduling {
namespace {

// After the device ran out of memory the step grows back by a factor of 2 after so many good ones:
// often enough that a short squeeze costs a second or two, seldom enough that a lasting one makes
// one step in 64 fail.
constexpr int kStepsToRecover = 64;
// A step of one token may fail for lack of memory so often in a row before its request is failed:
// each failure has dropped the features that nobody uses, and what others gave back may come late.
constexpr int kMemoryAttempts = 3;

// While a step was run, what a tick reads has left the CPU's caches. Begins to load what it reads
// of a sequence that is committed later, and of the request and the tokens of one begun before.
void PrefetchAhead(const std::vector<PlannedChunk>& step, std::size_t i) {
  // Far enough ahead that a load from memory has ended when its commit begins, and near enough that
  // the caches still hold it then.
  constexpr std::size_t kAhead = 6;
  if (i + 2 * kAhead < step.size()) {
    const auto* later = reinterpret_cast<const char*>(step[i + 2 * kAhead].sequence);
    __builtin_prefetch(later);
    __builtin_prefetch(later + kCacheLine);
  }
  if (i + kAhead < step.size()) {
    const Sequence& next = *step[i + kAhead].sequence;
    __builtin_prefetch(next.request);
    __builtin_prefetch(next.tokens.data() + next.tokens.size());
  }
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, Marks* marks)
    : options_(options),
      marks_(marks),
      planner_(options_, marks),
      budget_{.tokens = options.max_batch_tokens,
              .images = options.max_images_per_step,
              .times = options.max_step_time > Duration(0) ? &step_times_ : nullptr,
              .time = options.max_step_time,
              .costs = options.draft_tokens > 0 ? &step_times_ : nullptr} {
  LLAVA_CHECK(Validate(options).ok());
}

TickOutput& Scheduler::Tick(TimePoint now, std::span<Event> events) {
  LLAVA_CHECK(now >= now_);
  now_ = now;
  out_.tokens.clear();
  out_.ends.clear();
  out_.removed_versions.clear();
  out_.wake.reset();
  MarkCancelled(events);
  OnStep(events);
  out_.plan.Clear();
  for (Event& event : events) {
    std::visit([this](auto& e) { Apply(e); }, event);
  }
  Expire();
  PlanStep();
  return out_;
}

// A cancelled request gets nothing any more, not even what its last step made.
void Scheduler::MarkCancelled(std::span<const Event> events) {
  for (const Event& event : events) {
    const auto* cancel = std::get_if<Cancel>(&event);
    RequestState* request = cancel == nullptr ? nullptr : FindState(cancel->id);
    if (request != nullptr) request->cancelled = true;
  }
}

void Scheduler::OnStep(std::span<Event> events) {
  for (const PlannedChunk& chunk : step_) chunk.sequence->DropDrafts();
  int results = 0;
  for (Event& event : events) {
    if (const auto* done = std::get_if<StepDone>(&event)) {
      ++results;
      CommitStep(*done);
    } else if (const auto* failed = std::get_if<StepFailed>(&event)) {
      ++results;
      FailStep(failed->status);
    }
  }
  LLAVA_CHECK_EQ(results, out_.plan.has_work() ? 1 : 0);
  step_.clear();
}

void Scheduler::CommitStep(const StepDone& done) {
  LLAVA_CHECK_EQ(done.tokens.size(), out_.plan.samples.size());
  LLAVA_CHECK_EQ(done.stopped.size(), done.tokens.size());
  MeasureStep(done);
  for (std::size_t i = 0; i < step_.size(); ++i) {
    PrefetchAhead(step_, i);
    if (step_[i].decode) {
      CommitDecode(step_[i], done);
      continue;
    }
    planner_.Commit(*step_[i].sequence, step_[i].tokens);
    if (step_[i].samples > 0) CommitSamples(step_[i], done);
  }
  RecoverBudget();
}

void Scheduler::MeasureStep(const StepDone& done) {
  int decodes = 0;
  int prompt_tokens = out_.plan.total_tokens;
  for (const PlannedChunk& chunk : step_) {
    if (!chunk.decode) continue;
    ++decodes;
    prompt_tokens -= chunk.tokens;
  }
  std::int64_t parts = 0;
  for (const EncodeImage& encode : out_.plan.encodes) parts += encode.slice.work();
  const Duration worked = done.encode + done.forward;
  worked_ += worked;
  versions_[static_cast<std::size_t>(FindVersion(out_.plan.version))].worked += worked;
  const double tiles = static_cast<double>(parts) / options_.encoder_parts;
  cost_model_.StepDone(prompt_tokens, decodes, tiles, done.encode, done.forward, now_);
  step_times_.Forwarded({out_.plan.total_tokens, out_.plan.total_keys}, prompt_tokens,
                        done.forward);
  step_times_.Encoded(parts, done.encode);
  if (parts == 0) return;
  for (const PlannedChunk& chunk : step_) {
    const std::vector<ImageInput>& images = chunk.sequence->request->spec->images;
    const bool its_own =
        !chunk.decode && !images.empty() &&
        std::any_of(
            out_.plan.encodes.begin(), out_.plan.encodes.end(), [&](const EncodeImage& encode) {
              return encode.image >= images.data() && encode.image < images.data() + images.size();
            });
    if (its_own) chunk.sequence->request->usage.encode += done.encode;
  }
}

void Scheduler::CommitSamples(const PlannedChunk& chunk, const StepDone& done) {
  RequestState& request = *chunk.sequence->request;
  if (chunk.sequence->outputs() == 0) {
    request.first_token = now_;
    request.usage.prefill = now_ - *request.first_step - request.usage.encode;
    const Duration others = WorkedForOthers(request.version);
    request.usage.others_first = others - std::exchange(request.others, others);
  }
  if (chunk.samples > 1) planner_.Fork(request);
  for (int i = 0; i < chunk.samples; ++i) {
    Sequence& choice = i == 0 ? *chunk.sequence : *request.choices[static_cast<std::size_t>(i)];
    CommitToken(choice, done, chunk.first_sample + i);
  }
  if (request.unfinished == 0 && !request.cancelled) EndRequest(request, absl::OkStatus());
}

// A token, and those after it as far as the drafts came true.
void Scheduler::CommitDecode(const PlannedChunk& chunk, const StepDone& done) {
  Sequence& sequence = *chunk.sequence;
  RequestState& request = *sequence.request;
  const auto token = [&](int i) {
    return done.tokens[static_cast<std::size_t>(chunk.first_sample + i)].token;
  };
  Learn(sequence, token(0));
  int committed = 0;
  while (committed < chunk.samples && token(committed) != kNotSampled &&
         sequence.state == SequenceState::kRunning) {
    planner_.Commit(sequence, 1);
    CommitToken(sequence, done, chunk.first_sample + committed++);
  }
  if (chunk.samples > 1) {
    planner_.CountDrafts(chunk.samples - 1, committed - 1);
    if (committed > 1) Hit(marks_, Mark::kDraftTrue);
    if (committed < chunk.samples) {
      const bool ended = sequence.state == SequenceState::kFinished;
      Hit(marks_, ended ? Mark::kDraftEnded : Mark::kDraftFalse);
    }
  }
  if (request.unfinished == 0 && !request.cancelled) EndRequest(request, absl::OkStatus());
}

// Whether what was looked up for the step came true.
void Scheduler::Learn(Sequence& sequence, std::int32_t sampled) {
  constexpr float kWeight = 0.125f;  // of the last step: what a list is like shows in some tokens
  if (sequence.foreseen == kNotSampled) return;
  const float hit = sequence.foreseen == sampled ? 1.0f : 0.0f;
  sequence.draft_hits += (hit - sequence.draft_hits) * kWeight;
  sequence.foreseen = kNotSampled;
}

void Scheduler::CommitToken(Sequence& sequence, const StepDone& done, int sample) {
  RequestState& request = *sequence.request;
  const std::int32_t token = done.tokens[static_cast<std::size_t>(sample)].token;
  const int index = sequence.outputs();
  sequence.tokens.push_back(token);
  ++generated_tokens_;
  request.tenant->counter += options_.output_token_weight;
  FinishReason finish = FinishReason::kNone;
  if (request.ends.Contain(*request.spec, token, index)) {
    finish = FinishReason::kStop;
  } else if (done.stopped[static_cast<std::size_t>(sample)] != 0) {
    finish = FinishReason::kStop;
    Hit(marks_, Mark::kStoppedByText);
  } else if (index + 1 >= request.max_outputs) {
    finish = FinishReason::kLength;
    if (request.max_outputs < request.spec->sampling.max_tokens) {
      Hit(marks_, Mark::kLengthByContext);
    }
  }
  if (!request.cancelled) {
    out_.tokens.push_back({request.id, sequence.choice, sample, finish});
  }
  if (finish == FinishReason::kNone) return;
  --request.unfinished;
  planner_.Finish(sequence);
}

// What the step was writing is undefined: its features are forgotten; its blocks have no name yet.
void Scheduler::FailStep(const absl::Status& status) {
  for (const EncodeImage& encode : out_.plan.encodes) {
    planner_.features().Invalidate(encode.feature);
  }
  if (absl::IsResourceExhausted(status)) {
    ShrinkStep(status);
    return;
  }
  Hit(marks_, Mark::kStepFailed);
  std::set<RequestId> failed;
  for (const PlannedChunk& chunk : step_) failed.insert(chunk.sequence->request->spec->id);
  const absl::Status reason =
      absl::InternalError(absl::StrCat("a step with this request failed: ", status.message()));
  for (const RequestId id : failed) {
    RequestState& request = *FindState(id);
    if (!request.cancelled) EndRequest(request, reason);
  }
}

// Out of device memory: the same work again in smaller steps. When not even a single token fits,
// its request is too much for this device.
void Scheduler::ShrinkStep(const absl::Status& status) {
  Hit(marks_, Mark::kStepOutOfMemory);
  planner_.features().DropUnpinned();
  good_steps_ = 0;
  // A single token, or a picture for which nothing else had to make way.
  const bool smallest = out_.plan.total_tokens <= 1 && step_.size() == 1;
  const bool hopeless = ++short_steps_ >= kMemoryAttempts && smallest;
  if (out_.plan.total_tokens > 0) budget_.tokens = std::max(1, out_.plan.total_tokens / 2);
  budget_.images = std::max(1, budget_.images / 2);
  const bool only_one = step_.size() == 1;
  for (std::size_t i = step_.size(); i-- > 0;) {
    Sequence& sequence = *step_[i].sequence;
    sequence.in_step = false;
    // Copied blocks have no content, and encoded images are gone: begin again. The later half
    // gives its blocks to the others.
    const bool lost = step_[i].copied || !sequence.pins.empty();
    if (lost || (!only_one && i >= (step_.size() + 1) / 2)) planner_.Preempt(sequence);
  }
  RequestState& request = *step_.front().sequence->request;
  if (!hopeless || request.cancelled) return;
  Hit(marks_, Mark::kOutOfMemoryFatal);
  EndRequest(request, absl::ResourceExhaustedError(
                          absl::StrCat("out of device memory: ", status.message())));
}

void Scheduler::RecoverBudget() {
  short_steps_ = 0;
  if (budget_.tokens == options_.max_batch_tokens && budget_.images == options_.max_images_per_step)
    return;
  if (++good_steps_ < kStepsToRecover) return;
  good_steps_ = 0;
  budget_.tokens = std::min(2 * budget_.tokens, options_.max_batch_tokens);
  budget_.images = std::min(2 * budget_.images, options_.max_images_per_step);
}

// The versions take turns; one that has nothing to run passes.
void Scheduler::PlanStep() {
  const int count = static_cast<int>(versions_.size());
  for (int i = 1; i <= count && step_.empty(); ++i) {
    const int index = (last_version_ + i) % count;
    if (versions_[static_cast<std::size_t>(index)].requests == 0) continue;
    planner_.Plan(now_, index, budget_, &out_.plan, &step_);
    if (step_.empty()) continue;
    out_.plan.version = versions_[static_cast<std::size_t>(index)].digest;
    if (index != last_version_) Hit(marks_, Mark::kVersionAlternated);
    last_version_ = index;
  }
  planner_.features().TakeDropped(&out_.plan.drop_features);
  if (step_.empty() && !deadlines_.empty()) out_.wake = deadlines_.begin()->first;
}

SchedulerStats Scheduler::stats() const {
  SchedulerStats stats;
  stats.requests = static_cast<int>(requests_.size());
  stats.running = static_cast<int>(planner_.running().size());
  stats.waiting = static_cast<int>(planner_.waiting().sequences().size());
  stats.paused = paused_;
  const BlockPool& pool = planner_.kv().pool();
  stats.blocks_total = pool.size();
  stats.blocks_used = pool.used();
  stats.blocks_cached = pool.cached();
  stats.feature_bytes = planner_.features().bytes();
  stats.unfinished_images = static_cast<int>(planner_.features().unfinished());
  stats.generated_tokens = generated_tokens_;
  stats.planner = planner_.counters();
  return stats;
}

RequestState* Scheduler::FindState(RequestId id) {
  const auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : found->second.get();
}

int Scheduler::FindVersion(const Digest& digest) const {
  for (std::size_t i = 0; i < versions_.size(); ++i) {
    if (versions_[i].present && versions_[i].digest == digest) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace llava::scheduling
