// Decides what a step runs. The running sequences first: all decodes, then prompt chunks, then new
// starts while tokens, blocks and seats are left; images as far as the encoder budget goes.
#ifndef LLAVA_SERVER_SCHEDULING_PLANNER_H_
#define LLAVA_SERVER_SCHEDULING_PLANNER_H_

#include <array>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "server/scheduling/costs/step_times.h"
#include "server/scheduling/drafts.h"
#include "server/scheduling/feature_cache.h"
#include "server/scheduling/kv_blocks.h"
#include "server/scheduling/limits.h"
#include "server/scheduling/marks.h"
#include "server/scheduling/plan.h"
#include "server/scheduling/sequence.h"
#include "server/scheduling/waiting_queue.h"

namespace llava::scheduling {

// What a step does for one sequence, for when its results come.
struct PlannedChunk {
  Sequence* sequence = nullptr;
  int tokens = 0;  // 0: its picture is encoded, and there is no chunk of it in the plan
  int first_sample = 0;
  // 0: the prompt goes on; n: the first tokens of n choices, or a token and n - 1 drafts after it.
  int samples = 0;
  bool decode = false;  // its token comes after the first one
  bool copied = false;  // a block was copied for it
};

// What a step may use. Tokens and images are below the configured maximum after the device ran out
// of memory.
struct StepBudget {
  int tokens = 0;
  int images = 0;
  StepTimes* times = nullptr;  // null: a step may take any time
  Duration time{};             // see StepClock
  StepTimes* costs = nullptr;  // of drafts; null: no step has any
};

// What the planner counts, from its beginning.
struct PlannerCounters {
  std::uint64_t preemptions = 0;
  std::uint64_t images_needed = 0;         // uses of an image by a prompt
  std::uint64_t images_encoded = 0;        // of these, not in the feature cache
  std::uint64_t prompt_tokens = 0;         // of started requests
  std::uint64_t cached_prompt_tokens = 0;  // of these, from the prefix cache
  std::uint64_t drafted_tokens = 0;        // that steps computed on trial
  std::uint64_t true_drafts = 0;           // of these, sampled
};

// Engine thread only; points to sequences of the scheduler. Invariants:
//   1. running_ is sorted by (rank_class, request id, choice): the last one is preempted first
//   2. nothing that is part of the step being planned is preempted
//   3. seats_ = the seats of all running sequences, pending choices included, at most max_running
class Planner {
 public:
  // `options` and `marks` (may be null) outlive the planner.
  Planner(const SchedulerOptions& options, Marks* marks);

  // The step of one version, appended to the empty `plan` and `chunks`; both stay empty when
  // nothing of this version can run.
  void Plan(TimePoint now, int version, StepBudget budget, StepPlan* plan,
            std::vector<PlannedChunk>* chunks);

  void Enqueue(Sequence* sequence) { waiting_.Add(sequence); }

  // After a step: `tokens` more are computed.
  void Commit(Sequence& sequence, int tokens) {
    const bool in_prompt = sequence.computed < sequence.prompt_tokens;
    sequence.computed += tokens;
    sequence.in_step = false;
    kv_.Commit(sequence);
    if (in_prompt) ReleasePassedPins(sequence);
  }

  // Of a decode with drafts, after its step.
  void CountDrafts(int drafted, int came_true) {
    counters_.drafted_tokens += static_cast<std::uint64_t>(drafted);
    counters_.true_drafts += static_cast<std::uint64_t>(came_true);
  }

  // The pending choices of a computed prompt start to run on its blocks.
  void Fork(RequestState& request);

  // Gives back what the sequence holds; it waits again.
  void Preempt(Sequence& sequence);

  // Gives back what the sequence holds, in whatever state; it is finished.
  void Finish(Sequence& sequence);

  // A paused prompt must not keep others from encoding their images.
  void ReleasePins(Sequence& sequence);

  FeatureCache& features() { return features_; }
  const FeatureCache& features() const { return features_; }
  const KvBlocks& kv() const { return kv_; }
  const WaitingQueue& waiting() const { return waiting_; }
  const std::vector<Sequence*>& running() const { return running_; }
  int seats() const { return seats_; }
  const PlannerCounters& counters() const { return counters_; }

  // How many leading tokens the prefix cache would save now.
  int PeekCached(Sequence& sequence) { return kv_.PeekCached(sequence); }

 private:
  struct Step;       // what is being planned
  struct Encoding {  // a half-encoded image, and the sequence that holds it
    FeatureId feature;
    const Sequence* sequence;
  };

  void PlanDecodes(Step& step);
  DraftBudget BudgetOfDrafts(const Step& step) const;
  void AddDraft(const DraftBudget& budget, Sequence& sequence) const;
  void PlanPrompts(Step& step);
  void PlanStarts(Step& step);
  void StartUrgent(Step& step);
  bool IsHeldBack(const Step& step, const Sequence& sequence) const;
  bool PreemptToGrow(Step& step, Sequence& sequence, std::size_t* position);
  bool MakeRoom(Step& step, Sequence& sequence);
  bool TryStart(Step& step, Sequence& sequence);
  Sequence* LastPaused() const;
  Sequence* WorseClassVictim(const Step& step, int its_class) const;
  bool AddPrompt(Step& step, Sequence& sequence);
  PlannedChunk& AddChunk(Step& step, Sequence& sequence, int count);
  int FitImages(Step& step, Sequence& sequence, int count);
  bool EnsureFeature(Step& step, Sequence& sequence, int image);
  static std::int64_t PartsFor(Step& step, const Sequence& sequence, const ImageInput& image);
  bool MayBegin(Step& step, const Sequence& sequence, const ImageInput& image);
  bool Encode(Step& step, const Sequence& sequence, const Pin& pin);
  void ForgetEncoding(FeatureId feature);
  void Unpin(const Pin& pin);
  void AddImageRows(Step& step, const Sequence& sequence, int count);
  void ReleasePassedPins(Sequence& sequence);
  void Charge(RequestState& request, int cached);
  int Reserve() const;
  void InsertRunning(Sequence* sequence);
  void RemoveRunning(Sequence* sequence);

  const SchedulerOptions& options_;
  Marks* const marks_;
  KvBlocks kv_;
  FeatureCache features_;
  std::vector<Encoding> encoding_;
  WaitingQueue waiting_;
  std::vector<Sequence*> running_;
  std::array<int, kPriorities> running_of_{};  // by the class they were given
  int seats_ = 0;
  // The best waiting sequence, when it did not fit: nobody of another version starts before it.
  Sequence* blocked_head_ = nullptr;
  PlannerCounters counters_;
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_PLANNER_H_
