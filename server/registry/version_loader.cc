#include "server/registry/version_loader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace llava::registry {
namespace {

constexpr std::size_t kMaxQueued = 16;
// What a swap is said to take before any version was loaded.
constexpr Duration kUnknownLoad = std::chrono::seconds(30);
// A stutter of the machine can make one canary slow, hardly three at growing distances.
constexpr int kSlowTrials = 3;

bool IsSuperseded(Origin origin) {
  return origin == Origin::kPublished || origin == Origin::kRetried;
}

}  // namespace

VersionLoader::VersionLoader(RegistryOptions options) : options_(std::move(options)) {}

void VersionLoader::Decide(const Ticket& ticket, const absl::Status& status,
                           const VersionInfo& info) {
  if (ticket != nullptr) *ticket = LoadOutcome{status, info};
}

StepOutput VersionLoader::Step(const StepTime& time, LoaderEvent event) {
  time_ = time;
  output_ = {};
  std::visit([this](auto& of_its_kind) { On(of_its_kind); }, event);
  output_.changes = table_.TakeChanges();
  if (std::exchange(routes_changed_, false)) output_.routes = MakeRoutes();
  return std::exchange(output_, {});
}

bool VersionLoader::HasWork() const {
  if (in_progress_) return false;
  if (!unnoted_.empty() || !unused_.empty() || HasNextStage()) return true;
  return !load_ && !stopping_ && (!queue_.empty() || search_older_);
}

bool VersionLoader::WaitsForTime() const { return judge_.has_value() || retry_.has_value(); }

std::vector<std::shared_ptr<const ServedModel>> VersionLoader::TakeServed() {
  std::vector<std::shared_ptr<const ServedModel>> served;
  for (Entry& entry : table_.entries()) {
    if (entry.served != nullptr) served.push_back(std::move(entry.served));
  }
  return served;
}

void VersionLoader::On(LoadRequest& request) {
  if (stopping_) {
    output_.status = absl::UnavailableError("the server is stopping");
    return;
  }
  if (request.origin == Origin::kPublished) DropSuperseded();
  retry_.reset();  // somebody wants another version than the slow one, or the slow one now
  if (queue_.size() >= kMaxQueued) {
    output_.status = absl::ResourceExhaustedError(
        absl::StrCat(kMaxQueued, " checkpoints wait for being loaded, the most there may be"));
    return;
  }
  queue_.push_back(std::move(request));
}

// A newer version was published: those before it that still wait, and that nobody asked for, are
// not loaded any more.
void VersionLoader::DropSuperseded() {
  const auto drop = [](const LoadRequest& request) {
    if (!IsSuperseded(request.origin)) return false;
    Decide(request.ticket, absl::CancelledError("a newer one came"), {});
    return true;
  };
  std::erase_if(queue_, drop);
  std::erase_if(waiting_, [&](const Waiting& waiting) { return drop(waiting.request); });
}

void VersionLoader::On(const PromoteRequest&) {
  Entry* canary = table_.In(VersionState::kCanary);
  if (canary == nullptr) {
    output_.status = absl::FailedPreconditionError("there is no canary to promote");
    return;
  }
  MakeLive(*canary, "operator");
}

void VersionLoader::On(const RollBackRequest& request) {
  if (table_.In(VersionState::kCanary) != nullptr) {
    return RollBackCanary(Ending::kRolledBack, "operator", request.reason);
  }
  Entry* live = table_.In(VersionState::kLive);
  Entry* kept = table_.In(VersionState::kKept);
  if (live == nullptr || kept == nullptr) {
    output_.status = absl::FailedPreconditionError(
        "there is no previous version in memory to go back to; load its folder instead");
    return;
  }
  Retire(*live, Ending::kRolledBack, absl::StrCat("rolled back: ", request.reason), "operator");
  kept->info.traffic = 1;
  table_.Enter(*kept, VersionState::kLive, "operator", time_);
}

void VersionLoader::On(const TrafficRequest& request) {
  if (!(request.share >= 0 && request.share <= 1)) {
    output_.status =
        absl::InvalidArgumentError(absl::StrCat("traffic is ", request.share, ", expected 0 to 1"));
    return;
  }
  Entry* canary = table_.In(VersionState::kCanary);
  if (canary == nullptr) {
    output_.status = absl::FailedPreconditionError("there is no canary");
    return;
  }
  canary->info.traffic = request.share;
  table_.In(VersionState::kLive)->info.traffic = 1 - request.share;
  table_.Tell(*canary, "operator", time_);
  routes_changed_ = true;
}

void VersionLoader::On(const UnloadRequest& request) {
  Entry* entry = table_.Find(request.version);
  if (entry == nullptr) {
    output_.status =
        absl::NotFoundError(absl::StrCat("there is no version ", request.version.Hex()));
    return;
  }
  switch (entry->info.state) {
    case VersionState::kKept:
      return Retire(*entry, Ending::kUnloaded, "", "operator");
    case VersionState::kCanary:
      return RollBackCanary(Ending::kRolledBack, "operator", "unloaded");
    default:
      output_.status = absl::FailedPreconditionError(
          absl::StrCat("version ", request.version.Hex(), " is ", StateName(entry->info.state),
                       ", expected kept or canary"));
  }
}

void VersionLoader::On(const AnswerObserved& answer) {
  Entry* entry = table_.Find(answer.version);
  if (entry == nullptr) return;
  ++entry->info.answers;
  if (!judge_) return;
  if (entry->info.state == VersionState::kCanary) {
    judge_->AddCanary(answer.observation);
  }
  if (entry->info.state == VersionState::kLive) judge_->AddLive(answer.observation);
  ActOn(judge_->Judge(time_.now));
}

// At the end of the loader versions go that have not been retired; nothing follows from that.
void VersionLoader::On(const LastUserGone& gone) {
  const Entry* entry = table_.Find(gone.version);
  if (entry == nullptr || entry->info.state != VersionState::kDraining) return;
  unused_.push_back(gone.version);
}

void VersionLoader::On(const TimePassed&) {
  if (judge_) ActOn(judge_->Judge(time_.now));
  if (!retry_ || stopping_ || time_.now < retry_->at) return;
  queue_.push_back({retry_->dir, Origin::kRetried, nullptr});
  retry_.reset();
}

void VersionLoader::Retire(Entry& entry, Ending ending, const std::string& reason,
                           const std::string& cause) {
  table_.End(entry, ending, reason, cause, time_);
  output_.retired.push_back(std::move(entry.served));
  routes_changed_ = true;
  if (IsRemembered(ending) && !options_.published.empty()) {
    unnoted_.push_back({entry.info.identity.digest, reason});
  }
}

void VersionLoader::MakeLive(Entry& entry, const std::string& cause) {
  Entry* old = table_.In(VersionState::kLive);
  if (old != nullptr) {
    Entry* kept = table_.In(VersionState::kKept);
    if (kept != nullptr && kept != &entry) Retire(*kept, Ending::kReplaced, "", cause);
    old->info.traffic = 0;
    // It was to be compared with the version that goes.
    Entry* canary = table_.In(VersionState::kCanary);
    if (canary != nullptr && canary != &entry) {
      Retire(*canary, Ending::kSuperseded, "", "superseded");
    }
  }
  judge_.reset();
  entry.info.traffic = 1;
  table_.Enter(entry, VersionState::kLive, cause, time_);
  routes_changed_ = true;
  if (old == nullptr) return;
  if (options_.keep_previous) {
    table_.Enter(*old, VersionState::kKept, cause, time_);
  } else {
    Retire(*old, Ending::kReplaced, "", cause);
  }
}

void VersionLoader::ActOn(const Judgement& judgement) {
  Entry* canary = table_.In(VersionState::kCanary);
  if (judgement.verdict == Verdict::kWait || canary == nullptr) return;
  if (judgement.verdict == Verdict::kPromote) return MakeLive(*canary, judgement.cause);
  const bool again = judgement.only_late && ++canary->slow_trials < kSlowTrials;
  RollBackCanary(again ? Ending::kTooSlow : Ending::kRolledBack, judgement.cause, judgement.reason);
}

void VersionLoader::RollBackCanary(Ending ending, const std::string& cause,
                                   const std::string& reason) {
  Entry& canary = *table_.In(VersionState::kCanary);
  judge_.reset();
  table_.In(VersionState::kLive)->info.traffic = 1;
  Retire(canary, ending, absl::StrCat("rolled back: ", reason), cause);
  if (ending != Ending::kTooSlow) return;
  // Each time after twice the time: what disturbed the machine may last.
  const Duration pause = options_.canary.longest * (1 << (canary.slow_trials - 1));
  retry_ = {canary.info.dir, time_.now + pause};
}

Routes VersionLoader::MakeRoutes() {
  Routes routes;
  if (const Entry* live = table_.In(VersionState::kLive)) routes.live = live->served;
  if (const Entry* canary = table_.In(VersionState::kCanary)) {
    routes.canary = canary->served;
    routes.canary_share = canary->info.traffic;
  }
  if (swap_) routes.swap = {swap_->since, last_load_ > Duration(0) ? last_load_ : kUnknownLoad};
  return routes;
}

}  // namespace llava::registry
