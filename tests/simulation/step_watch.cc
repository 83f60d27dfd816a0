#include "tests/simulation/step_watch.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "server/scheduling/step_clock.h"

namespace llava::simulation {
namespace {

bool Reads(const scheduling::Sequence& sequence) {
  return !sequence.request->paused && sequence.is_decode();
}

bool SomebodyReads(const scheduling::Scheduler& scheduler) {
  const auto& running = scheduler.planner().running();
  return std::any_of(running.begin(), running.end(),
                     [](const scheduling::Sequence* sequence) { return Reads(*sequence); });
}

}  // namespace

// The step's time, or what the decodes take and half of it, and one smallest piece more.
Duration StepWatch::BoundOf(const scheduling::Scheduler& scheduler) const {
  const scheduling::SchedulerOptions& options = scheduler.options();
  scheduling::StepShape decodes;
  int longest = 0;
  for (const scheduling::Chunk& chunk : scheduler.output().plan.chunks) {
    longest = std::max(longest, chunk.start + static_cast<int>(chunk.token_ids.size()));
  }
  for (const scheduling::PlannedChunk& chunk : scheduler.step()) {
    if (!chunk.decode) continue;
    decodes.rows += chunk.tokens;
    decodes.keys += scheduling::KeysOf(chunk.sequence->computed, chunk.tokens);
  }
  constexpr int kLeast = scheduling::StepClock::kLeastTokens;
  const Duration of_decodes =
      decodes.rows == 0 ? Duration(0)
                        : costs_.step + costs_.token * decodes.rows + costs_.key * decodes.keys;
  const Duration piece = std::max(costs_.step + (costs_.token + costs_.key * longest) * kLeast,
                                  costs_.step + costs_.image / options.encoder_parts);
  return std::max(options.max_step_time, of_decodes + options.max_step_time / 2) + piece;
}

absl::Status StepWatch::Check(const scheduling::Scheduler& scheduler, bool whole) {
  const scheduling::StepPlan& plan = scheduler.output().plan;
  if (scheduler.options().max_step_time == Duration(0) || !plan.has_work()) {
    return absl::OkStatus();
  }
  if (!SomebodyReads(scheduler)) {
    waits_.clear();
    return absl::OkStatus();
  }
  const Duration cost = costs_.Of(plan);
  const Duration bound = BoundOf(scheduler);
  ++steps_;
  longest_ = std::max(longest_, cost);
  if (cost > bound) {
    return absl::InternalError(absl::StrCat(
        "invariant 18: a step beside readers takes ", Seconds(cost), " s, the bound is ",
        Seconds(bound), " s; ", plan.total_tokens, " tokens, ", plan.encodes.size(), " slices"));
  }
  return whole ? CheckWaits(scheduler, cost, bound) : absl::OkStatus();
}

absl::Status StepWatch::CheckWaits(const scheduling::Scheduler& scheduler, Duration cost,
                                   Duration bound) {
  std::set<int> versions;
  for (const auto& [id, request] : scheduler.requests()) versions.insert(request->version);
  std::unordered_map<scheduling::SequenceId, Wait> waits;
  for (const scheduling::Sequence* sequence : scheduler.planner().running()) {
    if (!Reads(*sequence)) continue;
    Wait wait = waits_[sequence->id];
    wait.waited += cost;
    wait.longest_bound = std::max(wait.longest_bound, bound);
    wait.versions = std::max(wait.versions, static_cast<int>(versions.size()));
    if (wait.waited > wait.longest_bound * wait.versions) {
      return absl::InternalError(absl::StrCat(
          "invariant 18: sequence ", sequence->id.value(), " waits ", Seconds(wait.waited),
          " s for its next token beside ", wait.versions, " versions"));
    }
    waits[sequence->id] = sequence->in_step ? Wait{} : wait;
  }
  waits_ = std::move(waits);
  return absl::OkStatus();
}

}  // namespace llava::simulation
