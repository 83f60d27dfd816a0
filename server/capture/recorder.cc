#include "server/capture/recorder.h"

#include <pthread.h>

#include <algorithm>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"

namespace llava::capture {
namespace {

constexpr Duration kTendInterval = std::chrono::minutes(1);
constexpr Duration kShortestInterval = std::chrono::milliseconds(50);
// A full disk refuses every turn: the log has one line of it a minute.
constexpr Duration kProblemInterval = std::chrono::minutes(1);

const char* NameOf(Drop why) {
  switch (why) {
    case Drop::kPictures:
      return "pictures";
    case Drop::kForm:
      return "form";
    case Drop::kMark:
      return "mark";
    case Drop::kTools:
      return "tools";
    case Drop::kChoices:
      return "choices";
    case Drop::kScore:
      return "score";
    case Drop::kEmpty:
      return "empty";
    case Drop::kMemory:
      return "memory";
    case Drop::kQueue:
      return "queue";
    case Drop::kSize:
      return "size";
    case Drop::kDisk:
      break;
  }
  return "disk";
}

std::set<std::string> NamesOf(const AgreedTenants& agreed) {
  std::set<std::string> names = agreed.texts;
  names.insert(agreed.pictures.begin(), agreed.pictures.end());
  return names;
}

// What a client has asked for wrongly names its field; the disk's errors name none.
bool IsForClients(const absl::Status& status) { return !FieldOf(status).empty(); }

}  // namespace

absl::StatusOr<std::unique_ptr<Recorder>> Recorder::Open(const Options& options, const Clock* clock,
                                                         observe::Metrics* metrics) {
  Store::Options of_store = options.store;
  of_store.tenants = NamesOf(options.agreed);
  ASSIGN_OR_RETURN(std::unique_ptr<Store> store, Store::Open(of_store, clock));
  return std::unique_ptr<Recorder>(new Recorder(options, clock, metrics, std::move(store)));
}

Recorder::Recorder(const Options& options, const Clock* clock, observe::Metrics* metrics,
                   std::unique_ptr<Store> store)
    : options_(options),
      clock_(clock),
      metrics_(metrics),
      store_(std::move(store)),
      tend_interval_(std::clamp(options.store.shard_time / 10, kShortestInterval, kTendInterval)),
      agreed_(options.agreed),
      queue_(options.queue),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "capture");
}

Agreement Recorder::AgreedBy(const std::string& tenant) const {
  MutexLock lock(&mutex_);
  if (agreed_.pictures.contains(tenant)) return Agreement::kPictures;
  return agreed_.texts.contains(tenant) ? Agreement::kTexts : Agreement::kNothing;
}

void Recorder::SetAgreed(AgreedTenants agreed) {
  MutexLock lock(&mutex_);
  agreed_ = std::move(agreed);
  has_new_tenants_ = true;
}

void Recorder::Count(Drop why) { metrics_->CountDroppedTurn(NameOf(why)); }

std::unique_ptr<PendingTurn> Recorder::Hold(Row row, std::string begun) {
  const std::int64_t bytes = WeightOf(row);
  if (held_.fetch_add(bytes) + bytes > options_.held_bytes) {
    held_.fetch_sub(bytes);
    Count(Drop::kMemory);
    return nullptr;
  }
  return std::make_unique<PendingTurn>(std::move(row), std::move(begun), &held_, bytes);
}

void Recorder::Record(std::unique_ptr<PendingTurn> turn) {
  if (AgreedBy(turn->row.tenant) == Agreement::kNothing) return;  // any more
  if (turn->answer.empty()) return Count(Drop::kEmpty);
  if (HasMark(turn->answer)) return Count(Drop::kMark);
  turn->row.said.push_back(std::move(turn->answer));
  turn->row.time = clock_->UnixMillis() / 1000;
  if (!queue_.TryPush(std::move(turn))) Count(Drop::kQueue);
}

absl::Status Recorder::TryPost(Work work) {
  if (queue_.TryPush(std::move(work))) return absl::OkStatus();
  if (stopping_) return absl::UnavailableError("the server is stopping");
  return absl::ResourceExhaustedError(absl::StrCat(
      options_.queue, " turns and verdicts wait to be written, the most there may be"));
}

absl::Status Recorder::ForClients(const absl::Status& status) {
  if (status.ok() || IsForClients(status)) return status;
  Tell(status);
  return absl::InternalError("the server could not read or write its files");
}

void Recorder::Judge(const std::string& tenant, const std::string& id, Verdict verdict,
                     const std::function<void(absl::Status)>& done) {
  absl::Status status = CheckCorrection(verdict.correction);
  if (status.ok()) {
    status = TryPost([this, tenant, id, verdict = std::move(verdict), done] {
      const Thumb thumb = verdict.thumb;
      const absl::Status judged = ForClients(store_->Judge(tenant, id, verdict));
      if (judged.ok()) metrics_->CountVerdict(std::string(ThumbName(thumb)));
      done(judged);
    });
  }
  if (!status.ok()) done(status);
}

void Recorder::Remove(const std::string& tenant, const std::string& id,
                      const std::function<void(absl::StatusOr<Removed>)>& done) {
  const absl::Status status = TryPost([this, tenant, id, done] {
    absl::StatusOr<Removed> removed = store_->Remove(tenant, id);
    if (!removed.ok()) removed = ForClients(removed.status());
    done(std::move(removed));
  });
  if (!status.ok()) done(status);
}

void Recorder::Stop() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  queue_.Close();
  thread_.join();
}

void Recorder::Run() {
  for (bool ending = false; !ending;) {
    ending = stopping_;  // what was pushed before it was set is still written
    if (!ending) queue_.WaitUntil(next_tend_);
    TakeTenants();
    while (std::optional<std::variant<Turn, Work>> item = queue_.TryPop()) {
      if (auto* turn = std::get_if<Turn>(&*item)) {
        Write(std::move(*turn));
      } else {
        std::get<Work> (*item)();
      }
    }
    if (clock_->Now() >= next_tend_) Tend();
    ShowBytes();
  }
  Tell(store_->CloseShards());
  ShowBytes();
}

void Recorder::TakeTenants() {
  std::set<std::string> names;
  {
    MutexLock lock(&mutex_);
    if (!std::exchange(has_new_tenants_, false)) return;
    names = NamesOf(agreed_);
  }
  Tell(store_->SetTenants(std::move(names)));
}

void Recorder::ShowBytes() {
  metrics_->captured_bytes.Set(static_cast<double>(store_->bytes()));
  std::map<std::string, double> by_tenant;
  for (const std::string& name : store_->tenants()) by_tenant[name] = 0;
  for (const auto& [tenant, bytes] : store_->BytesOfTenants()) {
    by_tenant[store_->tenants().contains(tenant) ? tenant : "other"] += static_cast<double>(bytes);
  }
  metrics_->SetCapturedBytes(by_tenant);
}

void Recorder::Write(Turn turn) {
  const absl::Status status = store_->Add(turn->row);
  if (status.ok()) return metrics_->captured_turns.Increment();
  Count(absl::IsInvalidArgument(status) ? Drop::kSize : Drop::kDisk);
  Tell(status);
}

void Recorder::Tend() {
  next_tend_ = clock_->Now() + tend_interval_;
  Tell(store_->Tend());
}

void Recorder::Tell(const absl::Status& problem) {
  if (problem.ok() || !options_.on_problem || clock_->Now() < next_problem_) return;
  next_problem_ = clock_->Now() + kProblemInterval;
  options_.on_problem(problem);
}

}  // namespace llava::capture
