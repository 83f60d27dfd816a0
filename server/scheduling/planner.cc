#include "server/scheduling/planner.h"

#include <algorithm>

#include "base/check.h"
#include "server/scheduling/step_clock.h"

namespace llava::scheduling {
namespace {

// Room for the longest answer, so that no tick moves what grows with it.
void ReserveLongest(Sequence& sequence) {
  const int longest = sequence.prompt_tokens + sequence.request->max_outputs;
  const auto blocks = static_cast<std::size_t>(BlocksFor(longest));
  sequence.tokens.reserve(static_cast<std::size_t>(longest));
  sequence.blocks.reserve(blocks);
  sequence.names.reserve(blocks);
}

// Samples the next token of the sequence from `row`, and those after its drafts from the rows
// behind it; or the first tokens of all choices. How many.
int AddSamples(const Sequence& sequence, int row, StepPlan* plan) {
  const RequestState& request = *sequence.request;
  const std::span<const std::int32_t> tokens = sequence.tokens;
  const auto prompt_tokens = static_cast<std::size_t>(sequence.prompt_tokens);
  const auto outputs = static_cast<std::size_t>(sequence.outputs());
  const auto add = [&](const Sequence& choice, std::size_t drafts, std::int32_t draft) {
    plan->samples.emplace_back(row + static_cast<int>(drafts), choice.id, &request.spec->sampling,
                               tokens.first(prompt_tokens),
                               tokens.subspan(prompt_tokens, outputs + drafts), choice.seed, draft);
  };
  const int choices = request.seats(sequence);
  for (int i = 0; i < choices; ++i) {
    add(i == 0 ? sequence : *request.choices[static_cast<std::size_t>(i)], 0, kNotSampled);
  }
  for (std::size_t i = 1; i <= static_cast<std::size_t>(sequence.drafts); ++i) {
    add(sequence, i, tokens[prompt_tokens + outputs + i - 1]);
  }
  return choices + sequence.drafts;
}

// Of the prompt, whose ids there need not be those of tokens.
bool IsInImage(const Request& request, int position) {
  return std::any_of(request.images.begin(), request.images.end(), [&](const ImageInput& image) {
    return position >= image.offset && position < image.offset + image.count;
  });
}

// A row that takes more of a step than this is not worth looking for a draft.
constexpr double kDearestRow = 0.75;

std::size_t GivenClass(const Sequence& sequence) {
  return static_cast<std::size_t>(sequence.request->spec->priority);
}

}  // namespace

Planner::Planner(const SchedulerOptions& options, Marks* marks)
    : options_(options),
      marks_(marks),
      kv_(options.num_blocks, options.prefix_cache, marks),
      features_(options.feature_cache_bytes),
      waiting_(options, marks) {}

void Planner::Plan(TimePoint now, int version, StepBudget budget, StepPlan* plan,
                   std::vector<PlannedChunk>* chunks) {
  Step step(now, version, budget, plan, chunks);
  StartUrgent(step);
  PlanDecodes(step);
  PlanPrompts(step);
  PlanStarts(step);
}

// A better class does not wait for the end of worse ones' answers: they go back to the queue.
void Planner::StartUrgent(Step& step) {
  if (waiting_.sequences().empty()) return;
  Sequence* best = waiting_.Best(step.now, step.version);
  if (best == nullptr || IsHeldBack(step, *best)) return;
  const int its_class = static_cast<int>(best->request->spec->priority);
  Sequence* victim = WorseClassVictim(step, its_class);
  while (victim != nullptr && !TryStart(step, *best)) {
    Hit(marks_, Mark::kPreemptedForClass);
    Preempt(*victim);
    victim = WorseClassVictim(step, its_class);
  }
}

// While the best of all waiting does not fit, those behind it in other versions do not start.
bool Planner::IsHeldBack(const Step& step, const Sequence& sequence) const {
  const Sequence* head = blocked_head_;
  if (head == nullptr || head->request->paused || head->request->version == step.version ||
      waiting_.GoesBefore(sequence, *head, step.now)) {
    return false;
  }
  Hit(marks_, Mark::kHeadBlockedElsewhere);
  return true;
}

// The last running one whose class is still worse than `its_class` after aging.
Sequence* Planner::WorseClassVictim(const Step& step, int its_class) const {
  // Aging only makes a class better: mostly nobody was given a worse one.
  int worse = 0;
  for (int given = its_class + 1; given < kPriorities; ++given)
    worse += running_of_[static_cast<std::size_t>(given)];
  if (worse == 0) return nullptr;
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if (waiting_.ClassOf(**it, step.now) > its_class) return *it;
  }
  return nullptr;
}

void Planner::PlanDecodes(Step& step) {
  const DraftBudget drafts = BudgetOfDrafts(step);
  for (std::size_t i = 0; i < running_.size() && step.tokens_left > 0; ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.request->paused || !sequence.is_decode()) continue;
    step.time.HasReader();
    if (sequence.request->version != step.version) continue;
    const std::size_t copies = step.plan->copies.size();
    if (!kv_.Grow(sequence, &step.plan->copies) && !PreemptToGrow(step, sequence, &i)) return;
    if (drafts.most > 0) AddDraft(drafts, sequence);
    PlannedChunk& chunk = AddChunk(step, sequence, 1 + sequence.drafts);
    chunk.decode = true;
    chunk.copied = step.plan->copies.size() > copies;
  }
}

// Nothing where there is anything else to compute: a prompt's rows come first.
DraftBudget Planner::BudgetOfDrafts(const Step& step) const {
  if (options_.draft_tokens == 0 || step.costs == nullptr || !waiting_.sequences().empty()) {
    return {};
  }
  StepShape shape;
  for (const Sequence* sequence : running_) {
    if (sequence->request->paused) continue;
    if (!sequence->is_decode()) return {};
    if (sequence->request->version != step.version) continue;
    ++shape.rows;
    shape.keys += sequence->computed + 1;
  }
  if (shape.rows == 0) return {};
  const double once = step.costs->Forward(shape);
  if (once <= 0) return {};  // nothing was measured
  DraftBudget budget;
  budget.share = step.costs->Forward({2 * shape.rows, 2 * shape.keys}) / once - 1;
  if (budget.share > kDearestRow) return {};
  budget.most =
      std::min(options_.draft_tokens, step.tokens_left / static_cast<int>(shape.rows) - 1);
  const double step_time = Seconds(options_.max_step_time);
  if (step_time > 0 && budget.most > 0) {
    const double fit = (step_time / once - 1) / std::max(budget.share, 1e-9);
    budget.most = static_cast<int>(std::clamp<double>(fit, 0, budget.most));
  }
  return budget;
}

// Within the block that its next token is written to, and within the answer.
void Planner::AddDraft(const DraftBudget& budget, Sequence& sequence) const {
  const RequestState& request = *sequence.request;
  const Draft draft = sequence.said.LookUp(sequence.tokens, options_.draft_tokens);
  if (draft.count == 0 || IsInImage(*request.spec, draft.first)) return;
  sequence.foreseen = sequence.tokens[static_cast<std::size_t>(draft.first)];
  const int room =
      std::min({budget.most, draft.count, sequence.writable_until - sequence.computed - 1,
                request.max_outputs - sequence.outputs() - 1});
  const int count = WorthwhileDrafts(sequence.draft_hits, budget.share, room);
  const int outputs = sequence.outputs();
  for (int i = 0; i < count; ++i) {
    const std::int32_t token = sequence.tokens[static_cast<std::size_t>(draft.first + i)];
    if (IsInImage(*request.spec, draft.first + i) ||
        request.ends.Contain(*request.spec, token, outputs + i)) {
      return;
    }
    sequence.tokens.push_back(token);
    ++sequence.drafts;
  }
}

// Finds a block for the next token at the expense of a paused sequence or of the last one. False
// when the sequence itself had to go; then nothing is behind it. `position`: where it stands in
// running_, kept up to date.
bool Planner::PreemptToGrow(Step& step, Sequence& sequence, std::size_t* position) {
  do {
    Sequence* victim = LastPaused();
    if (victim == nullptr) {
      victim = running_.back();
      Hit(marks_, victim == &sequence ? Mark::kPreemptedItself : Mark::kPreemptedForDecode);
    }
    LLAVA_CHECK(!victim->in_step);
    if (RunsBefore(*victim, sequence)) --*position;
    Preempt(*victim);
    if (victim == &sequence) return false;
  } while (!kv_.Grow(sequence, &step.plan->copies));
  return true;
}

void Planner::PlanPrompts(Step& step) {
  if (step.chunks->size() == running_.size()) return;  // nobody has a prompt to compute
  for (Sequence* sequence : running_) {
    if (step.tokens_left == 0 || step.time.IsOver()) return;
    if (sequence->in_step || sequence->request->paused || sequence->is_decode() ||
        sequence->request->version != step.version) {
      continue;
    }
    AddPrompt(step, *sequence);
  }
}

void Planner::PlanStarts(Step& step) {
  while (step.tokens_left > 0 && !step.time.IsOver()) {
    Sequence* best = waiting_.Best(step.now, step.version);
    if (best == nullptr || IsHeldBack(step, *best)) return;
    if (!MakeRoom(step, *best)) {
      Hit(marks_, Mark::kHeadBlocked);
      blocked_head_ = best;
      return;
    }
    if (!AddPrompt(step, *best)) return;  // the encoder is busy; so are the rest
  }
}

// Starts the sequence, if need be at the expense of those whose reader is slow.
bool Planner::MakeRoom(Step& step, Sequence& sequence) {
  while (!TryStart(step, sequence)) {
    Sequence* victim = LastPaused();
    if (victim == nullptr) return false;
    Preempt(*victim);
  }
  return true;
}

bool Planner::TryStart(Step& step, Sequence& sequence) {
  RequestState& request = *sequence.request;
  if (seats_ + request.seats(sequence) > options_.max_running) return false;
  if (!kv_.Start(sequence, Reserve())) return false;
  waiting_.Remove(&sequence);
  sequence.rank_class = waiting_.ClassOf(sequence, step.now);
  sequence.SetState(SequenceState::kRunning);
  InsertRunning(&sequence);
  seats_ += request.seats(sequence);
  if (blocked_head_ == &sequence) blocked_head_ = nullptr;
  if (request.first_step) return true;
  request.first_step = step.now;
  ReserveLongest(sequence);
  request.usage.queue = step.now - request.spec->arrival;
  request.usage.cached_tokens = sequence.computed;
  Charge(request, sequence.computed);
  counters_.prompt_tokens += static_cast<std::uint64_t>(sequence.prompt_tokens);
  counters_.cached_prompt_tokens += static_cast<std::uint64_t>(sequence.computed);
  return true;
}

// What the tenant pays for a prompt of which `cached` tokens cost nothing.
void Planner::Charge(RequestState& request, int cached) {
  int text = request.usage.prompt_tokens - cached;
  for (const ImageInput& image : request.spec->images) {
    const int computed = std::min(image.count, std::max(0, image.offset + image.count - cached));
    text -= computed;
    request.tenant->counter += std::int64_t{computed} * options_.image_token_weight;
  }
  request.tenant->counter += std::int64_t{text} * options_.prompt_token_weight;
}

// Blocks that a start leaves to the decodes of the others, so that it is not preempted at once.
int Planner::Reserve() const {
  return running_.empty() ? 0 : std::min(seats_, 1 + kv_.pool().size() / 64);
}

Sequence* Planner::LastPaused() const {
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if ((*it)->request->paused) return *it;
  }
  return nullptr;
}

// False when the step's time is over, or when its next image waits for the encoder: what is before
// that runs now, if there is any.
bool Planner::AddPrompt(Step& step, Sequence& sequence) {
  const int before = sequence.computed;
  kv_.Adopt(sequence);
  ReleasePassedPins(sequence);
  if (sequence.outputs() == 0 && sequence.request->usage.preemptions == 0) {
    sequence.request->usage.cached_tokens += sequence.computed - before;
  }
  const int wanted =
      std::min({sequence.remaining(), step.tokens_left, step.time.Tokens(sequence.computed)});
  if (wanted < std::min(sequence.remaining(), step.tokens_left)) {
    Hit(marks_, Mark::kChunkCutByTime);
  }
  if (wanted == 0) return false;
  const std::size_t encodes = step.plan->encodes.size();
  const int count = FitImages(step, sequence, wanted);
  const bool encodes_only = count == 0 && step.plan->encodes.size() > encodes;
  if (encodes_only) Hit(marks_, Mark::kOnlyEncoded);
  if (count == 0 && !encodes_only) return false;
  AddImageRows(step, sequence, count);
  AddChunk(step, sequence, count);
  step.time.PromptPlanned();
  // Its first token does not wait for the images of those behind it.
  if (count == sequence.remaining()) step.images_left = 0;
  return count == wanted;
}

PlannedChunk& Planner::AddChunk(Step& step, Sequence& sequence, int count) {
  StepPlan& plan = *step.plan;
  if (count > 0) {
    const auto tokens =
        std::span(sequence.tokens)
            .subspan(static_cast<std::size_t>(sequence.computed), static_cast<std::size_t>(count));
    plan.chunks.emplace_back(sequence.id, sequence.computed, plan.total_tokens, tokens,
                             sequence.blocks, sequence.request->spec->adapter.get());
  }
  plan.total_tokens += count;
  plan.total_keys += KeysOf(sequence.computed, count);
  const auto first_sample = static_cast<int>(plan.samples.size());
  const bool last = count == sequence.remaining() + sequence.drafts;
  const int row = plan.total_tokens - 1 - sequence.drafts;
  const int samples = last ? AddSamples(sequence, row, &plan) : 0;
  step.tokens_left -= count;
  sequence.in_step = true;
  return step.chunks->emplace_back(&sequence, count, first_sample, samples);
}

void Planner::Fork(RequestState& request) {
  Sequence& parent = *request.choices[0];
  for (std::size_t i = 1; i < request.choices.size(); ++i) {
    Sequence& child = *request.choices[i];
    ReserveLongest(child);
    child.tokens = request.spec->prompt_ids;
    kv_.Fork(parent, child);
    child.rank_class = parent.rank_class;
    child.SetState(SequenceState::kRunning);
    InsertRunning(&child);
  }
  request.pending = 0;
  Hit(marks_, Mark::kForked);
}

void Planner::Preempt(Sequence& sequence) {
  RequestState& request = *sequence.request;
  if (request.paused) Hit(marks_, Mark::kPreemptedPaused);
  if (sequence.choice == 0 && request.pending > 0) Hit(marks_, Mark::kPreemptedBeforeFork);
  ++request.usage.preemptions;
  ++counters_.preemptions;
  seats_ -= request.seats(sequence);
  RemoveRunning(&sequence);
  ReleasePins(sequence);
  kv_.Release(sequence);
  sequence.in_step = false;
  sequence.SetState(SequenceState::kWaiting);
  waiting_.Add(&sequence);
}

void Planner::Finish(Sequence& sequence) {
  if (blocked_head_ == &sequence) blocked_head_ = nullptr;
  if (sequence.state == SequenceState::kWaiting) waiting_.Remove(&sequence);
  if (sequence.state == SequenceState::kRunning) {
    seats_ -= sequence.request->seats(sequence);
    RemoveRunning(&sequence);
    ReleasePins(sequence);
    kv_.Release(sequence);
  }
  sequence.in_step = false;
  sequence.SetState(SequenceState::kFinished);
}

void Planner::InsertRunning(Sequence* sequence) {
  const auto place =
      std::upper_bound(running_.begin(), running_.end(), sequence,
                       [](const Sequence* a, const Sequence* b) { return RunsBefore(*a, *b); });
  running_.insert(place, sequence);
  ++running_of_[GivenClass(*sequence)];
}

void Planner::RemoveRunning(Sequence* sequence) {
  const auto found = std::find(running_.begin(), running_.end(), sequence);
  LLAVA_CHECK(found != running_.end());
  running_.erase(found);
  --running_of_[GivenClass(*sequence)];
}

}  // namespace llava::scheduling
