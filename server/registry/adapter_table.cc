#include "server/registry/adapter_table.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "model/config/decoder_products.h"
#include "server/registry/probes.h"
#include "server/registry/processor.h"
#include "server/registry/version_directory.h"
#include "server/scheduling/admission.h"

namespace llava::registry {
namespace {

constexpr std::size_t kMaxNameBytes = 64;
// How often a canary is looked at that nobody asks.
constexpr Duration kTimePasses = std::chrono::seconds(1);
// How soon it is worth to ask again for an adapter that is being loaded: most take less.
constexpr Duration kRetry = std::chrono::seconds(1);

absl::Status Stopping() { return absl::UnavailableError("the server is stopping"); }

}  // namespace

absl::Status CheckAdapterName(const std::string& name) {
  const auto is_plain = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (!name.empty() && name.size() <= kMaxNameBytes && absl::c_all_of(name, is_plain)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("adapter: '", name.substr(0, kMaxNameBytes),
                                                 "', expected a name of 1 to ", kMaxNameBytes,
                                                 " letters, digits, '.', '_' and '-'"));
}

const char* StateName(AdapterState state) {
  switch (state) {
    case AdapterState::kLoading:
      return "loading";
    case AdapterState::kServing:
      return "serving";
    case AdapterState::kFailed:
      return "failed";
    case AdapterState::kDraining:
      return "draining";
    case AdapterState::kCanary:
      return "canary";
  }
  return "";
}

AdapterTable::AdapterTable(const Options& options, AdapterLoader* loader, ModelDirectory* base,
                           const Clock* clock, OnChange on_change)
    : options_(options),
      loader_(loader),
      base_(base),
      clock_(clock),
      on_change_(std::move(on_change)) {}

AdapterTable::~AdapterTable() { Stop(); }

void AdapterTable::Start() {
  thread_ = std::jthread([this] { Run(); });
}

void AdapterTable::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  MutexLock lock(&mutex_);
  for (auto& [name, entry] : entries_) {
    if (entry.job != nullptr) *std::exchange(entry.job, nullptr) = Stopping();
  }
  changed_.NotifyAll();
}

void AdapterTable::BaseChanged() {
  MutexLock lock(&mutex_);
  has_base_ = true;
  changed_.NotifyAll();
}

void AdapterTable::Run() {
  while (const auto name = AwaitJob()) LoadNow(*name);
}

std::optional<std::string> AdapterTable::AwaitJob() {
  MutexLock lock(&mutex_);
  while (!stopping_ && (jobs_.empty() || !has_base_)) {
    const TimePoint now = clock_->Now();
    JudgeAll(now);
    if (HasCanary()) {
      changed_.WaitUntil(&mutex_, now + kTimePasses);
    } else {
      changed_.Wait(&mutex_);
    }
  }
  if (stopping_) return std::nullopt;
  has_base_ = false;  // until one is found, or BaseChanged tells of one that came too late for that
  return jobs_.front();
}

// The live version, or none. Not to be let go of under the lock: that may take the registry's.
std::shared_ptr<const ServedModel> AdapterTable::Base() {
  const auto models = base_->List();
  return models.empty() ? nullptr : models.front();
}

void AdapterTable::LoadNow(const std::string& name) {
  const std::shared_ptr<const ServedModel> base = Base();
  Job job;
  std::string dir;
  std::int64_t room = 0;
  {
    MutexLock lock(&mutex_);
    if (base == nullptr) return;
    has_base_ = true;
    std::erase(jobs_, name);  // it may have been removed, and another one be the first
    const auto entry = entries_.find(name);
    if (entry == entries_.end() || entry->second.job == nullptr) return;  // was removed
    job = entry->second.job;
    dir = entry->second.asked;
    room = options_.max_bytes - Bytes();
  }
  absl::StatusOr<LoadedAdapter> loaded = absl::InternalError("not loaded");
  try {
    loaded = LoadAndProbe(dir, *base, room, job);
  } catch (const std::bad_alloc&) {
    loaded = absl::ResourceExhaustedError("out of memory while reading an adapter");
  } catch (const std::exception& error) {
    loaded =
        absl::InternalError(absl::StrCat("unexpected while reading an adapter: ", error.what()));
  }
  Finish(name, job, std::move(loaded), base->processor->config().text);
}

absl::StatusOr<LoadedAdapter> AdapterTable::LoadAndProbe(const std::string& dir,
                                                         const ServedModel& base, std::int64_t room,
                                                         const Job& job) {
  const ShouldContinue should_continue = [this, &job]() -> absl::Status {
    MutexLock lock(&mutex_);
    if (stopping_) return Stopping();
    return job->value_or(absl::OkStatus());
  };
  ASSIGN_OR_RETURN(LoadedAdapter loaded,
                   loader_->LoadAdapter(dir, *base.processor, room, should_continue));
  const ProbeRunner runner(clock_, &should_continue);
  RETURN_IF_ERROR(runner.Run(loaded.probes, base.engines, base.digest, loaded.adapter));
  loaded.probes.clear();
  return loaded;
}

void AdapterTable::Finish(const std::string& name, const Job& job,
                          absl::StatusOr<LoadedAdapter> loaded, const model::TextConfig& text) {
  MutexLock lock(&mutex_);
  const auto found = entries_.find(name);
  // It was removed meanwhile, and perhaps asked for again from elsewhere.
  if (found == entries_.end() || found->second.job != job) return;
  Entry& entry = found->second;
  *std::exchange(entry.job, nullptr) = loaded.status();
  changed_.NotifyAll();
  if (!loaded.ok()) {
    return Reject(entry, entry.asked, std::string(loaded.status().message()));
  }
  Take(entry, *std::move(loaded), text);
}

// It is served, or the canary of what answers and computes something else.
void AdapterTable::Take(Entry& entry, LoadedAdapter loaded, const model::TextConfig& text) {
  AdapterInfo info;
  info.name = entry.info.name;
  info.dir = entry.asked;
  info.digest = loaded.adapter->digest().Hex();
  info.base = loaded.base;
  info.targets = loaded.targets;
  info.rank = loaded.rank;
  info.bytes = loaded.bytes;
  if (entry.canary) {
    Retire(entry.canary->info, entry.canary->serving);
    entry.canary.reset();
  }
  // One that cannot answer beside this version leaves nothing to compare with, nor to wait for.
  const bool is_other = entry.serving.loaded != nullptr && info.digest != entry.info.digest &&
                        model::CheckSameProducts(entry.serving.text, text).ok();
  Serving serving = {std::make_shared<const LoadedAdapter>(std::move(loaded)), text};
  if (is_other && options_.canary.traffic > 0) {
    entry.canary.emplace(
        Canary{std::move(info), std::move(serving), CanaryJudge(options_.canary, clock_->Now())});
    return SetState(entry.canary->info, AdapterState::kCanary, "");
  }
  if (entry.serving.loaded != nullptr) Retire(entry.info, entry.serving);
  entry.info = std::move(info);
  entry.serving = std::move(serving);
  SetState(entry.info, AdapterState::kServing, "");
}

// What was to come is not served.
void AdapterTable::Reject(Entry& entry, const std::string& dir, const std::string& reason) {
  if (entry.serving.loaded == nullptr) {
    return SetState(entry.info, AdapterState::kFailed, reason);
  }
  SetState(entry.info, AdapterState::kServing,
           absl::StrCat("the one before is still served: ", dir, ": ", reason));
}

// REQUIRES: it has a canary.
void AdapterTable::Judge(Entry& entry, TimePoint now) {
  const Judgement judgement = entry.canary->judge.Judge(now);
  if (judgement.verdict == Verdict::kWait) return;
  Canary canary = *std::move(entry.canary);
  entry.canary.reset();
  if (judgement.verdict == Verdict::kRollBack) {
    const std::string dir = canary.info.dir;
    Retire(std::move(canary.info), canary.serving);
    return Reject(entry, dir, judgement.reason);
  }
  Retire(entry.info, entry.serving);
  entry.info = std::move(canary.info);
  entry.serving = std::move(canary.serving);
  SetState(entry.info, AdapterState::kServing, "");
}

void AdapterTable::JudgeAll(TimePoint now) {
  for (auto& [name, entry] : entries_) {
    if (entry.canary) Judge(entry, now);
  }
}

bool AdapterTable::HasCanary() const {
  return absl::c_any_of(entries_, [](const auto& one) { return one.second.canary.has_value(); });
}

bool AdapterTable::IsJudging() {
  MutexLock lock(&mutex_);
  return HasCanary();
}

void AdapterTable::Observe(const Digest& adapter, const Observation& observation) {
  MutexLock lock(&mutex_);
  for (auto& [name, entry] : entries_) {
    if (!entry.canary) continue;
    if (entry.canary->serving.loaded->adapter->digest() == adapter) {
      entry.canary->judge.AddCanary(observation);
    } else if (entry.serving.loaded->adapter->digest() == adapter) {
      entry.canary->judge.AddLive(observation);
    }
    Judge(entry, clock_->Now());
  }
}

void AdapterTable::SetState(AdapterInfo& info, AdapterState state, std::string reason) {
  info.state = state;
  info.since_ms = clock_->UnixMillis();
  info.reason = std::move(reason);
  if (on_change_) on_change_(info);
}

// It drains.
void AdapterTable::Retire(AdapterInfo info, Serving& serving) {
  info.reason.clear();
  Draining draining{std::move(info), serving.loaded->adapter};
  SetState(draining.info, AdapterState::kDraining, "");
  serving = {};
  draining_.push_back(std::move(draining));
  DropDrained();
}

void AdapterTable::DropDrained() {
  std::erase_if(draining_, [](const Draining& one) { return one.adapter.expired(); });
}

std::int64_t AdapterTable::Bytes() {
  DropDrained();
  std::int64_t bytes = 0;
  for (const auto& [name, entry] : entries_) {
    if (entry.serving.loaded != nullptr) bytes += entry.info.bytes;
    if (entry.canary) bytes += entry.canary->info.bytes;
  }
  for (const Draining& one : draining_) bytes += one.info.bytes;
  return bytes;
}

// For one more entry; those that failed go for it.
absl::Status AdapterTable::MakeRoom() {
  if (entries_.size() < options_.max_adapters) return absl::OkStatus();
  const auto failed = absl::c_find_if(
      entries_, [](const auto& one) { return one.second.info.state == AdapterState::kFailed; });
  if (failed == entries_.end()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(entries_.size(), " adapters are loaded, expected at most max_adapters, ",
                     options_.max_adapters));
  }
  entries_.erase(failed);
  return absl::OkStatus();
}

absl::StatusOr<AdapterTable::Ticket> AdapterTable::Load(const std::string& name,
                                                        const std::string& dir) {
  absl::Status named = CheckAdapterName(name);
  if (!named.ok()) return named;
  MutexLock lock(&mutex_);
  if (stopping_) return Stopping();
  auto found = entries_.find(name);
  if (found != entries_.end() && found->second.job != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("adapter: ", name, " is being loaded already, from ", found->second.asked));
  }
  if (found == entries_.end()) {
    absl::Status room = MakeRoom();
    if (!room.ok()) return room;
    found = entries_.emplace(name, Entry()).first;
    found->second.info.name = name;
  }
  Entry& entry = found->second;
  entry.asked = dir;
  entry.job = std::make_shared<std::optional<absl::Status>>();
  if (entry.serving.loaded == nullptr) {
    entry.info.dir = dir;
    SetState(entry.info, AdapterState::kLoading, "");
  }
  jobs_.push_back(name);
  changed_.NotifyAll();
  return Ticket(entry.job);
}

std::optional<absl::Status> AdapterTable::Await(const Ticket& ticket, TimePoint until) {
  MutexLock lock(&mutex_);
  while (!ticket->has_value()) {
    if (!changed_.WaitUntil(&mutex_, until)) break;
  }
  return *ticket;
}

absl::Status AdapterTable::Remove(const std::string& name) {
  Serving gone, canary;  // dropped without the lock: that may free their memory
  MutexLock lock(&mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) return WithField(NoAdapter("name", name), "name");
  Entry& entry = found->second;
  if (entry.job != nullptr) {
    *std::exchange(entry.job, nullptr) = absl::AbortedError("it was removed meanwhile");
    std::erase(jobs_, name);
  }
  gone = entry.serving;
  if (entry.canary) {
    canary = entry.canary->serving;
    Retire(entry.canary->info, entry.canary->serving);
  }
  if (entry.serving.loaded != nullptr) Retire(entry.info, entry.serving);
  entries_.erase(found);
  changed_.NotifyAll();
  return absl::OkStatus();
}

std::vector<AdapterInfo> AdapterTable::List() {
  const std::shared_ptr<const ServedModel> base = Base();
  MutexLock lock(&mutex_);
  DropDrained();
  std::vector<AdapterInfo> all;
  for (const auto& [name, entry] : entries_) {
    AdapterInfo& info = all.emplace_back(entry.info);
    if (entry.serving.loaded != nullptr && base != nullptr) {
      const absl::Status follows =
          model::CheckSameProducts(entry.serving.text, base->processor->config().text);
      if (!follows.ok()) {
        info.state = AdapterState::kFailed;
        info.reason = std::string(follows.message());
      }
    }
    if (entry.canary) all.push_back(entry.canary->info);
  }
  for (const Draining& one : draining_) all.push_back(one.info);
  return all;
}

absl::Status AdapterTable::NoAdapter(absl::string_view field, absl::string_view name) const {
  const std::string there =
      absl::StrJoin(entries_, " or ", [](std::string* out, const auto& one) { *out += one.first; });
  return absl::NotFoundError(absl::StrCat(
      field, ": there is no adapter ", name.empty() ? "without a name" : Shortened(name),
      ", expected ", there.empty() ? "none: no adapter is served" : there));
}

absl::StatusOr<AdapterTable::Serving> AdapterTable::Find(absl::string_view name,
                                                         absl::string_view key) {
  MutexLock lock(&mutex_);
  const auto found = entries_.find(std::string_view(name.data(), name.size()));
  if (found == entries_.end()) return NoAdapter("model", name);
  const Entry& entry = found->second;
  // Others than those who see a version's canary, so that neither is judged by the other's answers.
  if (entry.canary && TrafficBucket(absl::StrCat(name, ":", key)) < options_.canary.traffic) {
    return entry.canary->serving;
  }
  if (entry.serving.loaded != nullptr) return entry.serving;
  if (entry.info.state == AdapterState::kFailed) {
    return absl::FailedPreconditionError(absl::StrCat(
        "model: the adapter ", name, " could not be loaded; ModelService.List says why"));
  }
  return scheduling::WithRetryAfter(
      absl::UnavailableError(absl::StrCat("model: the adapter ", name, " is being loaded")),
      kRetry);
}

std::map<std::string, AdapterTable::Serving> AdapterTable::All() {
  MutexLock lock(&mutex_);
  std::map<std::string, Serving> all;
  for (const auto& [name, entry] : entries_) {
    if (entry.serving.loaded != nullptr) all.emplace(name, entry.serving);
  }
  return all;
}

}  // namespace llava::registry
