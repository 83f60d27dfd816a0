#include "server/scheduling/invariants.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::scheduling {
namespace {

template <typename... Parts>
absl::Status Broken(int number, const Parts&... parts) {
  return absl::InternalError(absl::StrCat("invariant ", number, ": ", parts...));
}

std::size_t Index(BlockId block) { return static_cast<std::size_t>(block.value()); }

// 1, 2: who holds which block.
absl::Status CheckBlocks(const Scheduler& scheduler) {
  const Planner& planner = scheduler.planner();
  const BlockPool& pool = planner.kv().pool();
  std::vector<int> tables(static_cast<std::size_t>(pool.size()), 0);
  for (const Sequence* sequence : planner.running()) {
    for (const BlockId block : sequence->blocks) ++tables[Index(block)];
  }
  int used = 0;
  int cached = 0;
  int kept = 0;
  for (int i = 0; i < pool.size(); ++i) {
    const BlockId block(i);
    const int count = pool.ref_count(block);
    if (count != tables[Index(block)]) {
      return Broken(1, "block ", i, " has ", count, " references and stands in ",
                    tables[Index(block)], " tables");
    }
    if (count > 0) ++used;
    if (count == 0 && pool.kept(block)) ++cached;
    if (pool.kept(block)) ++kept;
  }
  for (const BlockId block : pool.free_list()) {
    if (pool.ref_count(block) > 0 || pool.kept(block)) {
      return Broken(1, "block ", block.value(), " is free and not free");
    }
  }
  const int free = static_cast<int>(pool.free_list().size());
  if (used + cached + free != pool.size() || cached != pool.cached()) {
    return Broken(1, used, " used + ", cached, " cached + ", free, " free of ", pool.size());
  }
  if (static_cast<std::size_t>(kept) != planner.kv().index().size()) {
    return Broken(2, kept, " blocks are kept and ", planner.kv().index().size(), " have a name");
  }
  return absl::OkStatus();
}

// 3: what a sequence holds.
absl::Status CheckSequence(const Sequence& sequence) {
  const auto id = sequence.id.value();
  const bool running = sequence.state == SequenceState::kRunning;
  if (!running && (!sequence.blocks.empty() || !sequence.pins.empty() || sequence.in_step)) {
    return Broken(3, "sequence ", id, " does not run and holds something");
  }
  if (!running) return absl::OkStatus();
  const auto blocks = static_cast<int>(sequence.blocks.size());
  if (sequence.remaining() < 1 || blocks < BlocksFor(sequence.computed) ||
      blocks > BlocksFor(sequence.size())) {
    return Broken(3, "sequence ", id, " has ", sequence.computed, " of ", sequence.size(),
                  " tokens in ", blocks, " blocks");
  }
  if (sequence.request->paused && sequence.in_step) {
    return Broken(9, "sequence ", id, " runs though its reader is slow");
  }
  return absl::OkStatus();
}

// 4, 5: everybody is in exactly one place, in order, and within the bounds.
absl::Status CheckPlaces(const Scheduler& scheduler) {
  const Planner& planner = scheduler.planner();
  std::size_t running = 0;
  std::size_t waiting = 0;
  int seats = 0;
  for (const auto& [id, request] : scheduler.requests()) {
    int pending = 0;
    int unfinished = 0;
    for (const auto& choice : request->choices) {
      RETURN_IF_ERROR(CheckSequence(*choice));
      if (choice->state == SequenceState::kPending) ++pending;
      if (choice->state != SequenceState::kFinished) ++unfinished;
      if (choice->state == SequenceState::kWaiting) ++waiting;
      if (choice->state != SequenceState::kRunning) continue;
      ++running;
      seats += request->seats(*choice);
    }
    if (pending != request->pending || unfinished != request->unfinished || unfinished == 0) {
      return Broken(4, "request ", id.value(), " has ", unfinished, " unfinished choices");
    }
  }
  if (running != planner.running().size() || waiting != planner.waiting().sequences().size()) {
    return Broken(4, running, " running and ", waiting, " waiting sequences, but ",
                  planner.running().size(), " and ", planner.waiting().sequences().size(),
                  " in the lists");
  }
  if (seats != planner.seats() || seats > scheduler.options().max_running) {
    return Broken(5, seats, " seats taken of ", scheduler.options().max_running);
  }
  const auto later = [](const Sequence* a, const Sequence* b) {
    return std::make_tuple(a->rank_class, a->request->spec->id, a->choice) <
           std::make_tuple(b->rank_class, b->request->spec->id, b->choice);
  };
  if (!std::is_sorted(planner.running().begin(), planner.running().end(), later)) {
    return Broken(5, "the running sequences are not in order");
  }
  return absl::OkStatus();
}

// 6: encoded images.
absl::Status CheckFeatures(const Scheduler& scheduler) {
  const FeatureCache& features = scheduler.planner().features();
  if (features.bytes() > features.budget_bytes()) {
    return Broken(6, features.bytes(), " bytes of ", features.budget_bytes());
  }
  std::unordered_map<FeatureId, int> pins;
  for (const Sequence* sequence : scheduler.planner().running()) {
    for (const Pin& pin : sequence->pins) ++pins[pin.feature];
  }
  std::size_t unfinished = 0;
  for (const auto& [feature, count] : pins) {
    if (features.progress(feature).has_value()) {
      ++unfinished;
      if (count != 1) {
        return Broken(6, "feature ", feature.value(), " is half encoded and has ", count, " pins");
      }
    }
    if (features.pins(feature) != count) {
      return Broken(6, "feature ", feature.value(), " is pinned ", features.pins(feature),
                    " times by ", count, " sequences");
    }
  }
  if (unfinished != features.unfinished() || unfinished > kMaxUnfinishedImages) {
    return Broken(6, unfinished, " half-encoded features of ", features.unfinished());
  }
  return absl::OkStatus();
}

// 16: whoever shares a block or an encoded image is of one version and one cache domain; a block
// also of one adapter.
absl::Status CheckDomains(const Scheduler& scheduler) {
  std::unordered_map<BlockId, const Request*> blocks;
  std::unordered_map<FeatureId, const Request*> features;
  const auto same = [](const Request& a, const Request& b) {
    return a.version == b.version && a.cache_domain == b.cache_domain;
  };
  for (const Sequence* sequence : scheduler.planner().running()) {
    const Request* request = sequence->request->spec.get();
    for (const BlockId block : sequence->blocks) {
      const Request& first = *blocks.emplace(block, request).first->second;
      if (!same(first, *request) || AdapterDigest(first) != AdapterDigest(*request)) {
        return Broken(16, "block ", block.value(), " is shared across cache domains or adapters");
      }
    }
    for (const Pin& pin : sequence->pins) {
      if (!same(*features.emplace(pin.feature, request).first->second, *request)) {
        return Broken(16, "feature ", pin.feature.value(), " is shared across cache domains");
      }
    }
  }
  return absl::OkStatus();
}

// 7, 8: the step.
absl::Status CheckPlan(const Scheduler& scheduler, const StepPlan& plan) {
  const BlockPool& pool = scheduler.planner().kv().pool();
  std::unordered_set<FeatureId> images;
  for (const EncodeImage& encode : plan.encodes) images.insert(encode.feature);
  if (plan.total_tokens > scheduler.options().max_batch_tokens ||
      static_cast<int>(images.size()) > scheduler.options().max_images_per_step) {
    return Broken(7, "the step has ", plan.total_tokens, " tokens and ", images.size(), " images");
  }
  int tokens = 0;
  std::unordered_set<int> written;
  for (const Chunk& chunk : plan.chunks) {
    const int count = static_cast<int>(chunk.token_ids.size());
    if (chunk.first_token != tokens || count < 1) return Broken(7, "chunks are not contiguous");
    tokens += count;
    for (int b = chunk.start / kKvBlockTokens; b < BlocksFor(chunk.start + count); ++b) {
      const BlockId block = chunk.blocks[static_cast<std::size_t>(b)];
      if (pool.ref_count(block) != 1 || pool.kept(block) || !written.insert(block.value()).second) {
        return Broken(8, "block ", block.value(), " is shared and would be written");
      }
    }
  }
  if (tokens != plan.total_tokens) return Broken(7, "tokens of the step do not add up");
  return absl::OkStatus();
}

// 10: somebody always gets on.
absl::Status CheckProgress(const Scheduler& scheduler, const StepPlan& plan) {
  if (plan.has_work()) return absl::OkStatus();
  for (const auto& [id, request] : scheduler.requests()) {
    if (!request->paused) return Broken(10, "request ", id.value(), " could run and nothing does");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckInvariants(const Scheduler& scheduler) {
  const StepPlan& plan = scheduler.output().plan;
  RETURN_IF_ERROR(CheckBlocks(scheduler));
  RETURN_IF_ERROR(CheckPlaces(scheduler));
  RETURN_IF_ERROR(CheckFeatures(scheduler));
  RETURN_IF_ERROR(CheckDomains(scheduler));
  RETURN_IF_ERROR(CheckPlan(scheduler, plan));
  return CheckProgress(scheduler, plan);
}

}  // namespace llava::scheduling
