#include "server/batches/service.h"

#include <pthread.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace llava::batches {
namespace {

// Batches that are open at a time: each has three files.
constexpr std::size_t kMaxRuns = 32;
constexpr std::ptrdiff_t kMaxRunsOfTenant = 4;
constexpr Duration kPause = std::chrono::seconds(1);
constexpr Duration kLongestPause = std::chrono::minutes(1);
constexpr Duration kExpiryInterval = std::chrono::minutes(1);

// What the server says when it is not the row's fault.
bool IsToBeAskedAgain(int status) { return status == 429 || status == 499 || status == 503; }

}  // namespace

absl::StatusOr<std::unique_ptr<BatchService>> BatchService::Open(const Options& options,
                                                                 const Clock* clock) {
  ASSIGN_OR_RETURN(auto store, BatchStore::Open(options.store, clock));
  return std::unique_ptr<BatchService>(new BatchService(options, clock, std::move(store)));
}

BatchService::BatchService(const Options& options, const Clock* clock,
                           std::unique_ptr<BatchStore> store)
    : options_(options), clock_(clock), store_(std::move(store)) {
  for (const auto& [id, batch] : store_->batches()) {
    if (!HasEnded(batch.state)) waiting_.push_back(id);
  }
}

BatchService::~BatchService() { Stop(); }

void BatchService::Start(RowAsker ask, std::function<bool()> is_ready) {
  ask_ = std::move(ask);
  is_ready_ = std::move(is_ready);
  thread_ = std::jthread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "batches");
}

void BatchService::Post(std::function<void()> work) {
  MutexLock lock(&mutex_);
  work_.push_back(std::move(work));
  changed_.NotifyOne();
}

void BatchService::Drain() {
  Post([this] {
    draining_ = true;
    CancelFlights(nullptr);
  });
}

void BatchService::Stop() {
  if (!thread_.joinable()) return;
  Drain();
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyOne();
  }
  thread_.join();
}

absl::Status BatchService::ForClients(const absl::Status& status) const {
  if (!absl::IsInternal(status)) return status;
  if (options_.on_problem) options_.on_problem("", status);
  return absl::InternalError("the server could not read or write its files");
}

absl::StatusOr<Batch> BatchService::Create(Batch batch) {
  ASSIGN_OR_RETURN(Batch created, store_->AddBatch(std::move(batch)));
  waiting_.push_back(created.id);
  return created;
}

absl::StatusOr<Batch> BatchService::Cancel(const std::string& tenant, const std::string& id) {
  ASSIGN_OR_RETURN(const Batch* const batch, store_->FindBatch(tenant, id));
  if (batch->state == BatchState::kCancelling || batch->state == BatchState::kCancelled) {
    return *batch;
  }
  BatchRun* run = RunOf(id);
  const bool can_cancel =
      batch->state == BatchState::kValidating ||
      (batch->state == BatchState::kInProgress && (run == nullptr || !run->is_stopping()));
  if (!can_cancel) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the batch '", id, "' is ", StateName(batch->state), ", expected one that has not ended"));
  }
  if (run == nullptr) {
    std::erase(waiting_, id);
    runs_.push_back(
        std::make_unique<BatchRun>(&*store_, store_->MutableBatch(id), options_.max_line));
    run = runs_.back().get();
  }
  run->StopFor(BatchState::kCancelled);
  CancelFlights(run);
  return run->batch();
}

void BatchService::Run() {
  bool has_more = true;
  std::vector<std::function<void()>> work;
  while (TakeWork(!has_more, &work)) {
    for (const std::function<void()>& one : work) one();
    work.clear();
    has_more = Turn();
    Count();
  }
}

void BatchService::Count() {
  BatchCounts counts = so_far_;
  counts.waiting = std::ssize(waiting_);
  counts.running = std::ssize(runs_);
  counts.in_flight = std::ssize(flights_);
  MutexLock lock(&mutex_);
  counts_ = counts;
}

BatchCounts BatchService::counts() {
  MutexLock lock(&mutex_);
  return counts_;
}

// Nothing to do and nothing to come: false.
bool BatchService::TakeWork(bool wait, std::vector<std::function<void()>>* work) {
  const TimePoint wake = WakeAt();
  MutexLock lock(&mutex_);
  while (wait && work_.empty() && !(stopping_ && flights_.empty())) {
    if (!changed_.WaitUntil(&mutex_, wake)) break;
  }
  if (stopping_ && work_.empty() && flights_.empty()) return false;
  work->swap(work_);
  return true;
}

TimePoint BatchService::WakeAt() const {
  TimePoint wake = next_expiry_;
  if (draining_) return wake;  // no row is asked again: pauses end unseen
  if (next_look_ > clock_->Now() && !runs_.empty()) wake = std::min(wake, next_look_);
  for (const auto& [tenant, until] : paused_until_) wake = std::min(wake, until);
  return wake;
}

// True: there is more to do at once.
bool BatchService::Turn() {
  if (clock_->Now() >= next_expiry_) {
    store_->RemoveExpired();
    next_expiry_ = clock_->Now() + kExpiryInterval;
  }
  if (draining_) {
    for (const auto& run : runs_) run->Sync();
    return false;
  }
  Activate();
  bool has_more = false;
  for (const auto& run : runs_) {
    has_more |= run->Work();
    if (run->is_stopping() && run->in_flight() > 0) CancelFlights(run.get());
  }
  has_more |= AskRows();
  for (const auto& run : runs_) run->Sync();
  for (const auto& run : runs_) {
    if (!run->has_ended() || run->problem().ok() || !options_.on_problem) continue;
    options_.on_problem(run->batch().id, run->problem());
  }
  const auto ended = std::erase_if(runs_, [](const auto& run) { return run->has_ended(); });
  if (runs_.empty()) windows_.clear();
  return has_more || ended > 0;
}

// The oldest batches that wait, but not many of one tenant, unless all that is left is to say that
// they have expired.
void BatchService::Activate() {
  for (auto it = waiting_.begin(); it != waiting_.end() && runs_.size() < kMaxRuns;) {
    Batch* const batch = store_->MutableBatch(*it);
    const auto of_tenant = absl::c_count_if(
        runs_, [&](const auto& run) { return run->batch().tenant == batch->tenant; });
    if (of_tenant >= kMaxRunsOfTenant && store_->Now() < batch->expires) {
      ++it;
      continue;
    }
    runs_.push_back(std::make_unique<BatchRun>(&*store_, batch, options_.max_line));
    it = waiting_.erase(it);
  }
}

BatchRun* BatchService::RunOf(const std::string& id) {
  const auto found = absl::c_find_if(runs_, [&](const auto& run) { return run->batch().id == id; });
  return found == runs_.end() ? nullptr : found->get();
}

int BatchService::WindowOf(const std::string& tenant) const {
  const auto found = windows_.find(tenant);
  return found == windows_.end() ? options_.in_flight : found->second;
}

// Of those that have rows the one whose tenant has the fewest in flight.
BatchRun* BatchService::NextRun(const std::vector<BatchRun*>& without) {
  std::map<std::string, int> of_tenants;
  for (const auto& run : runs_) of_tenants[run->batch().tenant] += run->in_flight();
  BatchRun* best = nullptr;
  const auto load = [&](const BatchRun& run) {
    return std::tuple(of_tenants[run.batch().tenant], run.in_flight());
  };
  for (const auto& run : runs_) {
    const std::string& tenant = run->batch().tenant;
    if (paused_until_.contains(tenant) || of_tenants[tenant] >= WindowOf(tenant)) continue;
    if (!run->has_rows() || absl::c_linear_search(without, run.get())) continue;
    if (best == nullptr || load(*run) < load(*best)) best = run.get();
  }
  return best;
}

// True: some run has only begun to look for its next row.
bool BatchService::AskRows() {
  const TimePoint now = clock_->Now();
  std::erase_if(paused_until_, [&](const auto& paused) { return paused.second <= now; });
  if (!runs_.empty() && !is_ready_()) {
    next_look_ = now + kPause;
    return false;
  }
  std::vector<BatchRun*> without;
  while (std::ssize(flights_) < options_.in_flight &&
         (flights_.empty() || bytes_in_flight_ < options_.in_flight_bytes)) {
    BatchRun* const run = NextRun(without);
    if (run == nullptr) break;
    std::optional<Row> row = run->NextRow();
    if (row.has_value()) {
      Ask(run, *std::move(row));
    } else {
      without.push_back(run);
    }
  }
  return !without.empty();
}

void BatchService::Ask(BatchRun* run, Row row) {
  const Batch& batch = run->batch();
  const std::uint64_t ticket = next_ticket_++;
  RowCall call{.tenant = batch.tenant,
               .path = batch.endpoint,
               .request_id = absl::StrCat(batch.id, ".", row.line),
               .body = std::exchange(row.body, "")};
  bytes_in_flight_ += row.bytes;
  Flight& flight = flights_[ticket];
  flight = {.run = run, .row = std::move(row), .cancel = nullptr};
  flight.cancel = ask_(std::move(call), [this, ticket](RowResponse response) {
    Post([this, ticket, response = std::move(response)] { Landed(ticket, response); });
  });
}

void BatchService::Landed(std::uint64_t ticket, const RowResponse& response) {
  const auto found = flights_.find(ticket);
  LLAVA_CHECK(found != flights_.end());
  Flight flight = std::move(found->second);
  flights_.erase(found);
  bytes_in_flight_ -= flight.row.bytes;
  const std::string& tenant = flight.run->batch().tenant;
  if (!IsToBeAskedAgain(response.answer.status)) {
    ++(response.answer.status == 200 ? so_far_.answered : so_far_.refused);
    windows_[tenant] = std::min(options_.in_flight, WindowOf(tenant) + 1);
    return flight.run->Record(flight.row, response.answer);
  }
  flight.run->Return(std::move(flight.row));
  ++so_far_.postponed;
  if (response.answer.status == 429) windows_[tenant] = std::max(1, WindowOf(tenant) / 2);
  const Duration pause = std::min(response.retry_after.value_or(kPause), kLongestPause);
  paused_until_[tenant] = clock_->Now() + pause;
}

// Null: of all runs.
void BatchService::CancelFlights(const BatchRun* run) {
  for (auto& [ticket, flight] : flights_) {
    const bool is_of_run = run == nullptr || flight.run == run;
    if (is_of_run && flight.cancel) std::exchange(flight.cancel, nullptr)();
  }
}

}  // namespace llava::batches
