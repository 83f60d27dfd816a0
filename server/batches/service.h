// Works through the batches of a store: a bounded number of rows is in flight, tenants in turn,
// each row asked the way a client's request is, at low priority. One thread owns the store and does
// all that waits for the disk.
#ifndef LLAVA_SERVER_BATCHES_SERVICE_H_
#define LLAVA_SERVER_BATCHES_SERVICE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/batches/run.h"
#include "server/batches/store.h"

namespace llava::batches {

// One row as a request.
struct RowCall {
  std::string tenant = {};
  std::string path = {};  // the batch's endpoint
  std::string request_id = {};
  std::string body = {};
};

// What came back, and when to come again, if the answer says so.
struct RowResponse {
  RowAnswer answer;
  std::optional<Duration> retry_after;
};

// Asks, without waiting; `done` is called once, in any thread. What it returns cancels the call.
using RowAsker =
    std::function<std::function<void()>(RowCall call, std::function<void(RowResponse)> done)>;

// Of now, and since the start.
struct BatchCounts {
  std::int64_t waiting = 0;    // batches that have not begun
  std::int64_t running = 0;    // batches
  std::int64_t in_flight = 0;  // rows that are being answered
  std::int64_t answered = 0;   // rows
  std::int64_t refused = 0;    // rows that the server refused
  std::int64_t postponed = 0;  // times that a row was given back, to be asked again
};

class BatchService {
 public:
  // Of which batch (empty: of none), and what the disk did.
  using OnProblem = std::function<void(const std::string& batch, const absl::Status& problem)>;

  struct Options {
    BatchStore::Options store;
    OnProblem on_problem = nullptr;  // in the service's thread
    int in_flight = 64;
    std::int64_t max_line = std::int64_t{64} << 20;
    std::int64_t in_flight_bytes = std::int64_t{64} << 20;  // of lines; one may always be asked
  };

  // Errors of BatchStore::Open. `clock` outlives the service.
  static absl::StatusOr<std::unique_ptr<BatchService>> Open(const Options& options,
                                                            const Clock* clock);
  ~BatchService();

  // Begins to work. What `ask` uses lives until Stop returns.
  // `is_ready`: whether a version answers; while none does, no row is asked. Any thread may call
  // it.
  void Start(RowAsker ask, std::function<bool()> is_ready);

  // Any thread. Runs `work` in the service's thread, soon. REQUIRES: started and not stopped.
  void Post(std::function<void()> work);

  // Any thread. No row is asked from now on, and those in flight are cancelled: they are asked at
  // the next start.
  void Drain();

  // Any thread.
  BatchCounts counts();

  // Waits for the rows in flight, and for what was posted. Drains before.
  void Stop();

  // The service's thread only.
  // What a client may be told of an error: of the disk's (INTERNAL) nothing but that it is one.
  absl::Status ForClients(const absl::Status& status) const;
  BatchStore& store() { return *store_; }
  // Errors of BatchStore::AddBatch.
  absl::StatusOr<Batch> Create(Batch batch);
  // NOT_FOUND; INVALID_ARGUMENT: it has ended.
  absl::StatusOr<Batch> Cancel(const std::string& tenant, const std::string& id);

 private:
  struct Flight {
    BatchRun* run = nullptr;
    Row row;
    std::function<void()> cancel;
  };

  BatchService(const Options& options, const Clock* clock, std::unique_ptr<BatchStore> store);
  void Run();
  bool TakeWork(bool wait, std::vector<std::function<void()>>* work);
  bool Turn();
  void Activate();
  BatchRun* RunOf(const std::string& id);
  int WindowOf(const std::string& tenant) const;
  BatchRun* NextRun(const std::vector<BatchRun*>& without);
  bool AskRows();
  void Ask(BatchRun* run, Row row);
  void Landed(std::uint64_t ticket, const RowResponse& response);
  void CancelFlights(const BatchRun* run);
  TimePoint WakeAt() const;
  void Count();

  const Options options_;
  const Clock* const clock_;
  const std::unique_ptr<BatchStore> store_;
  RowAsker ask_;
  std::function<bool()> is_ready_;

  // Of the thread.
  std::deque<std::string> waiting_;  // batches, the oldest first
  std::vector<std::unique_ptr<BatchRun>> runs_;
  std::map<std::uint64_t, Flight> flights_;
  std::uint64_t next_ticket_ = 0;
  std::int64_t bytes_in_flight_ = 0;
  std::map<std::string, TimePoint> paused_until_;  // tenants for whom the server had no room
  TimePoint next_look_{};                          // whether the server is ready
  // Rows of a tenant that may be in flight; none: as many as of all. Less after a refusal, more
  // after an answer, so that a tenant that is over its own limits slows down nobody else.
  std::map<std::string, int> windows_;
  BatchCounts so_far_;  // of rows
  TimePoint next_expiry_{};
  bool draining_ = false;

  Mutex mutex_;
  CondVar changed_;
  std::vector<std::function<void()>> work_ ABSL_GUARDED_BY(mutex_);
  BatchCounts counts_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;  // joined by Stop
};

}  // namespace llava::batches

#endif  // LLAVA_SERVER_BATCHES_SERVICE_H_
