// The way of one version from its folder to its first request, and the swap around it.
#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/registry/version_loader.h"

namespace llava::registry {
namespace {

absl::Status Stopping() { return absl::UnavailableError("the server is stopping"); }

// By what the manifests say of both, in the exams that both took; empty when the canary is not
// worse by more than `allowed` in any.
std::string EvaluationRegression(const VersionIdentity& canary, const VersionIdentity& live,
                                 double allowed) {
  for (const auto& [exam, share] : canary.exams) {
    const auto live_share = live.exams.find(exam);
    if (live_share == live.exams.end() || share >= live_share->second - allowed) continue;
    return absl::StrCat("its evaluation says ", share, ", that of the live version ",
                        live_share->second, " (", exam, ")");
  }
  return "";
}

// What is worth a word in the log: both were examined, but never with the same questions.
std::string ComparisonCause(const VersionIdentity& canary, const VersionIdentity& live) {
  if (canary.evaluation.empty() || live.evaluation.empty()) return "";
  for (const auto& [exam, share] : canary.exams) {
    if (live.exams.contains(exam)) return "";
  }
  return "evaluation_not_comparable";
}

}  // namespace

void VersionLoader::On(const WorkerIdle&) {
  LLAVA_CHECK(!in_progress_);
  output_.work = in_progress_ = NextWork();
}

// Notes and frees first: the daemon may be killed before a note is written, and memory is what a
// load needs.
std::optional<Work> VersionLoader::NextWork() {
  if (!unnoted_.empty()) {
    const NoteWork work = std::move(unnoted_.front());
    unnoted_.pop_front();
    return work;
  }
  if (!unused_.empty()) {
    const FreeWork work{unused_.front()};
    unused_.pop_front();
    return work;
  }
  if (HasNextStage()) return NextStage();
  if (load_ || stopping_) return std::nullopt;
  if (!queue_.empty()) {
    load_.emplace(std::move(queue_.front()));
    queue_.pop_front();
    return IdentifyWork{load_->request.dir, load_->request.origin == Origin::kOperator};
  }
  const bool nothing_live = table_.In(VersionState::kLive) == nullptr;
  if (std::exchange(search_older_, false) && nothing_live && !options_.published.empty()) {
    return ListWork{};
  }
  return std::nullopt;
}

bool VersionLoader::HasNextStage() const {
  if (!load_ || load_->entry == nullptr || !load_->failure.ok()) return false;
  return !load_->unloading || !table_.AnyLoaded();
}

Work VersionLoader::NextStage() {
  Entry& entry = *load_->entry;
  load_->unloading = false;
  const bool beside = load_->stage == VersionState::kLoading && table_.AnyLoaded();
  table_.Enter(entry, load_->stage, "", time_);
  return StageWork{load_->stage, entry.info.dir, entry.info.identity.digest, beside};
}

void VersionLoader::On(WorkDone& done) {
  LLAVA_CHECK(in_progress_.has_value());
  in_progress_.reset();
  std::visit([this](auto& of_its_kind) { OnResult(of_its_kind); }, done.result);
}

void VersionLoader::OnResult(Identified& identified) {
  const LoadRequest& request = load_->request;
  if (stopping_) return FinishLoad(Stopping(), {});
  const auto& identity = identified.identity;
  Entry* known = identity.ok() ? table_.Find(identity->digest) : nullptr;
  if (known != nullptr) {
    const bool gone =
        known->info.state == VersionState::kFreed ||
        (known->info.state == VersionState::kRejected && request.origin != Origin::kPublished);
    if (!gone) return FinishKnown(*known);
  }
  const bool wanted = request.origin == Origin::kOperator || request.origin == Origin::kRestored;
  absl::Status refused = identity.status();
  if (identity.ok() && identified.rollback_note && !wanted) {
    const std::string& why = *identified.rollback_note;
    refused = absl::FailedPreconditionError(
        absl::StrCat("it was rolled back before: ", why.empty() ? "nobody noted why" : why));
  }
  Entry& entry = table_.Discover(request.dir, identity.ok() ? &*identity : nullptr, time_);
  if (refused.ok()) {
    load_->entry = &entry;
    load_->start = time_.now;
    return;
  }
  const Ending ending = identity.ok() ? Ending::kRefused : Ending::kFailed;
  table_.End(entry, ending, refused.ToString(), "discovered", time_);
  FinishLoad(refused, entry.info);
}

// The version that was asked for is here already, is on its way out, or was rejected.
void VersionLoader::FinishKnown(Entry& entry) {
  switch (entry.info.state) {
    case VersionState::kDraining: {
      // Its folder is looked at again when it is gone. One that asks for it is enough.
      std::erase_if(waiting_, [&](const Waiting& other) {
        if (other.version != entry.info.identity.digest) return false;
        Decide(other.request.ticket, absl::CancelledError("asked for again"), {});
        return true;
      });
      LoadRequest later = load_->request;
      load_->request.ticket = nullptr;
      waiting_.push_back({entry.info.identity.digest, std::move(later)});
      return FinishLoad(absl::OkStatus(), entry.info);
    }
    case VersionState::kRejected:
      return FinishLoad(absl::FailedPreconditionError(entry.info.reason), entry.info);
    case VersionState::kKept:
      MakeLive(entry, "operator");
      return FinishLoad(absl::OkStatus(), entry.info);
    default:
      return FinishLoad(absl::OkStatus(), entry.info);
  }
}

void VersionLoader::OnResult(StageDone& done) {
  Load& load = *load_;
  absl::Status status = done.status;
  if (stopping_ && load.stage != VersionState::kProbing && status.ok()) status = Stopping();
  if (!status.ok()) return FailLoad(Annotate(status, StateName(load.stage)));
  switch (load.stage) {
    case VersionState::kVerifying:
      load.stage = VersionState::kLoading;
      if (options_.swap) UnloadForSwap();
      return;
    case VersionState::kLoading:
      load.entry->info.bytes = done.bytes;
      load.stage = VersionState::kWarming;
      return;
    case VersionState::kWarming:
      load.stage = VersionState::kProbing;
      return;
    default:
      return Serve(std::move(done.served));
  }
}

void VersionLoader::Serve(std::shared_ptr<const ServedModel> served) {
  Entry& entry = *load_->entry;
  last_load_ = time_.now - load_->start;
  entry.info.load_seconds = Seconds(last_load_);
  entry.served = std::move(served);
  Entry* const live = table_.In(VersionState::kLive);
  if (live == nullptr || options_.canary.traffic == 0) {
    MakeLive(entry, live == nullptr ? "first" : "no_canary");
    return FinishLoad(absl::OkStatus(), entry.info);
  }
  if (Entry* const older = table_.In(VersionState::kCanary)) {
    Retire(*older, Ending::kSuperseded, "", "superseded");
  }
  entry.info.traffic = options_.canary.traffic;
  live->info.traffic = 1 - options_.canary.traffic;
  judge_.emplace(options_.canary, time_.now);
  table_.Enter(entry, VersionState::kCanary,
               ComparisonCause(entry.info.identity, live->info.identity), time_);
  routes_changed_ = true;
  const std::string worse =
      EvaluationRegression(entry.info.identity, live->info.identity, options_.worse_evaluation);
  if (!worse.empty()) RollBackCanary(Ending::kRolledBack, "evaluation", worse);
  FinishLoad(absl::OkStatus(), entry.info);
}

// What engines may hold is freed first.
void VersionLoader::FailLoad(const absl::Status& status) {
  Entry& entry = *load_->entry;
  const bool loaded = IsLoaded(entry.info.state);
  table_.End(entry, Ending::kFailed, status.ToString(), StateName(entry.info.state), time_);
  if (!loaded) return FinishLoad(status, entry.info);
  load_->failure = status;
  unused_.push_back(entry.info.identity.digest);
}

void VersionLoader::FinishLoad(const absl::Status& status, const VersionInfo& info) {
  const LoadRequest request = std::move(load_->request);
  load_.reset();
  if (!status.ok()) search_older_ = true;
  if (!status.ok() && swap_ && request.origin != Origin::kRestored && !stopping_) {
    swap_->outcome = LoadOutcome{status, info};
    swap_->ticket = request.ticket;
    queue_.push_front({swap_->previous_dir, Origin::kRestored, nullptr});
    return;
  }
  if (swap_) FinishSwap();
  const bool rolled_back = status.ok() && IsRejection(info.ending);
  Decide(request.ticket, rolled_back ? absl::FailedPreconditionError(info.reason) : status, info);
}

void VersionLoader::OnResult(const Freed& freed) {
  Entry& entry = *table_.Find(freed.version);
  table_.Finish(entry, time_);
  Requeue(freed.version);
  if (load_ && load_->entry == &entry) {
    const absl::Status failure = load_->failure;  // outlives the load
    FinishLoad(failure, entry.info);
  }
}

// Whoever asked for a version while it was draining is next, but for one that made room.
void VersionLoader::Requeue(const Digest& version) {
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& waiting) {
    return waiting.version == version;
  });
  if (found == waiting_.end()) return;
  const bool restoring = !queue_.empty() && queue_.front().origin == Origin::kRestored;
  queue_.insert(queue_.begin() + (restoring ? 1 : 0), std::move(found->request));
  waiting_.erase(found);
}

// This daemon still knows, until it ends.
void VersionLoader::OnResult(const Noted& noted) {
  Entry* entry = table_.Find(noted.version);
  if (noted.status.ok() || entry == nullptr) return;
  absl::StrAppend(&entry->info.reason, "; not noted for others: ", noted.status.message());
}

// Nothing is live and the newest version was rejected: one that is older may be good.
void VersionLoader::OnResult(const Listed& listed) {
  if (stopping_ || !queue_.empty() || table_.In(VersionState::kLive) != nullptr) return;
  const auto unknown = std::find_if(listed.dirs.begin(), listed.dirs.end(),
                                    [&](const auto& dir) { return !table_.KnowsFolder(dir); });
  if (unknown != listed.dirs.end()) queue_.push_back({*unknown, Origin::kPublished, nullptr});
}

// Everything that is loaded goes; the load goes on when it is gone.
void VersionLoader::UnloadForSwap() {
  const Entry* live = table_.In(VersionState::kLive);
  if (live == nullptr) return;
  swap_.emplace().since = time_.now;
  swap_->previous_dir = live->info.dir;
  for (Entry& entry : table_.entries()) {
    if (entry.served != nullptr) Retire(entry, Ending::kSwappedOut, "", "swap");
  }
  judge_.reset();
  load_->unloading = true;
}

void VersionLoader::FinishSwap() {
  if (swap_->outcome) Decide(swap_->ticket, swap_->outcome->status, swap_->outcome->info);
  swap_.reset();
  routes_changed_ = true;
}

void VersionLoader::On(const StopRequest&) {
  stopping_ = true;
  for (const LoadRequest& request : queue_) Decide(request.ticket, Stopping(), {});
  queue_.clear();
  for (const Waiting& waiting : waiting_) Decide(waiting.request.ticket, Stopping(), {});
  waiting_.clear();
  retry_.reset();
  // What is in progress is told by its result; what waits for room or for the worker, now.
  if (load_ && !in_progress_ && load_->entry != nullptr && load_->failure.ok()) {
    FailLoad(Annotate(Stopping(), StateName(load_->stage)));
  }
  if (swap_) FinishSwap();
}

}  // namespace llava::registry
