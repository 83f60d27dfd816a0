#include "server/registry/adapter_table.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/config/decoder_products.h"
#include "server/registry/processor.h"
#include "server/scheduling/admission.h"

namespace llava::registry {
namespace {

constexpr std::size_t kMaxNameBytes = 64;
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
  while (!stopping_ && (jobs_.empty() || !has_base_)) changed_.Wait(&mutex_);
  if (stopping_) return std::nullopt;
  return jobs_.front();
}

// Of the live version. Without the lock, because letting go of a version may take the registry's.
std::optional<model::TextConfig> AdapterTable::BaseText() {
  const auto models = base_->List();
  if (models.empty()) return std::nullopt;
  return models.front()->processor->config().text;
}

void AdapterTable::LoadNow(const std::string& name) {
  const std::optional<model::TextConfig> text = BaseText();
  std::shared_ptr<std::optional<absl::Status>> job;
  std::string dir;
  std::int64_t room = 0;
  {
    MutexLock lock(&mutex_);
    if (!text) {
      has_base_ = false;  // until BaseChanged says otherwise
      return;
    }
    std::erase(jobs_, name);  // it may have been removed, and another one be the first
    const auto entry = entries_.find(name);
    if (entry == entries_.end() || entry->second.job == nullptr) return;  // was removed
    job = entry->second.job;
    dir = entry->second.info.dir;
    room = options_.max_bytes - Bytes();
  }
  absl::StatusOr<LoadedAdapter> loaded = absl::InternalError("not loaded");
  try {
    loaded = loader_->LoadAdapter(dir, *text, room);
  } catch (const std::bad_alloc&) {
    loaded = absl::ResourceExhaustedError("out of memory while reading an adapter");
  } catch (const std::exception& error) {
    loaded =
        absl::InternalError(absl::StrCat("unexpected while reading an adapter: ", error.what()));
  }
  Finish(name, job, dir, std::move(loaded), *text);
}

void AdapterTable::Finish(const std::string& name, const Ticket& job, const std::string& dir,
                          absl::StatusOr<LoadedAdapter> loaded, const model::TextConfig& text) {
  MutexLock lock(&mutex_);
  const auto found = entries_.find(name);
  // It was removed meanwhile, and perhaps asked for again from elsewhere.
  if (found == entries_.end() || found->second.job != job) return;
  Entry& entry = found->second;
  *std::exchange(entry.job, nullptr) = loaded.status();
  changed_.NotifyAll();
  if (!loaded.ok()) {
    const bool has_old = entry.serving.loaded != nullptr;
    SetState(entry, has_old ? AdapterState::kServing : AdapterState::kFailed,
             has_old ? absl::StrCat("the one before is still served: ", dir, ": ",
                                    loaded.status().message())
                     : std::string(loaded.status().message()));
    return;
  }
  if (entry.serving.loaded != nullptr) Retire(entry);
  entry.info.digest = loaded->adapter->digest().Hex();
  entry.info.base = loaded->base;
  entry.info.targets = loaded->targets;
  entry.info.rank = loaded->rank;
  entry.info.bytes = loaded->bytes;
  entry.serving = {std::make_shared<const LoadedAdapter>(*std::move(loaded)), text};
  SetState(entry, AdapterState::kServing, "");
}

void AdapterTable::SetState(Entry& entry, AdapterState state, std::string reason) {
  entry.info.state = state;
  entry.info.since_ms = clock_->UnixMillis();
  entry.info.reason = std::move(reason);
  if (on_change_) on_change_(entry.info);
}

// What it has loaded drains.
void AdapterTable::Retire(Entry& entry) {
  Draining draining{entry.info, entry.serving.loaded->adapter};
  draining.info.state = AdapterState::kDraining;
  draining.info.since_ms = clock_->UnixMillis();
  if (on_change_) on_change_(draining.info);
  entry.serving = {};
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
        absl::StrCat("adapter: ", name, " is being loaded already, from ", found->second.info.dir));
  }
  if (found == entries_.end()) {
    absl::Status room = MakeRoom();
    if (!room.ok()) return room;
    found = entries_.emplace(name, Entry()).first;
    found->second.info.name = name;
  }
  Entry& entry = found->second;
  entry.info.dir = dir;
  entry.job = std::make_shared<std::optional<absl::Status>>();
  if (entry.serving.loaded == nullptr) SetState(entry, AdapterState::kLoading, "");
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
  Serving gone;  // dropped without the lock: that may free its memory
  MutexLock lock(&mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    return absl::NotFoundError(absl::StrCat("adapter: there is none called ", name));
  }
  Entry& entry = found->second;
  if (entry.job != nullptr) {
    *std::exchange(entry.job, nullptr) = absl::AbortedError("it was removed meanwhile");
    std::erase(jobs_, name);
  }
  gone = entry.serving;
  if (entry.serving.loaded != nullptr) Retire(entry);
  entries_.erase(found);
  changed_.NotifyAll();
  return absl::OkStatus();
}

std::vector<AdapterInfo> AdapterTable::List() {
  const std::optional<model::TextConfig> text = BaseText();
  MutexLock lock(&mutex_);
  DropDrained();
  std::vector<AdapterInfo> all;
  for (const auto& [name, entry] : entries_) {
    AdapterInfo& info = all.emplace_back(entry.info);
    if (entry.serving.loaded == nullptr || !text) continue;
    const absl::Status follows = model::CheckSameProducts(entry.serving.text, *text);
    if (follows.ok()) continue;
    info.state = AdapterState::kFailed;
    info.reason = std::string(follows.message());
  }
  for (const Draining& one : draining_) all.push_back(one.info);
  return all;
}

absl::StatusOr<AdapterTable::Serving> AdapterTable::Find(absl::string_view name) {
  MutexLock lock(&mutex_);
  const auto found = entries_.find(std::string_view(name.data(), name.size()));
  if (found == entries_.end()) {
    const std::string there = absl::StrJoin(
        entries_, " or ", [](std::string* out, const auto& one) { *out += one.first; });
    return absl::NotFoundError(absl::StrCat("model: there is no adapter ", name, ", expected ",
                                            there.empty() ? "none: no adapter is served" : there));
  }
  const Entry& entry = found->second;
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
