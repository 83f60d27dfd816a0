// Jobs in a SQLite database: whatever a call returned for is there after a crash.
#ifndef LLAVA_TRAINING_SERVICE_JOB_STORE_H_
#define LLAVA_TRAINING_SERVICE_JOB_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "training/service/job.h"

struct sqlite3;

namespace llava::training {

// Thread-safe. One process at a time: a second one gets UNAVAILABLE from Open.
class JobStore {
 public:
  static absl::StatusOr<std::unique_ptr<JobStore>> Open(const std::string& path);
  ~JobStore();
  JobStore(const JobStore&) = delete;
  JobStore& operator=(const JobStore&) = delete;

  // Fills in the id; ids are never used again.
  absl::StatusOr<Job> Insert(Job job);

  // NOT_FOUND: no such job.
  absl::StatusOr<Job> Get(std::int64_t id);
  absl::Status Update(const Job& job);
  absl::Status Delete(std::int64_t id);

  // Sets cancel_requested of a job that has not ended; one that has stays as it is.
  absl::Status RequestCancel(std::int64_t id);

  // The newest first; `before`: only ids below it, 0 for all.
  absl::StatusOr<std::vector<Job>> List(std::int64_t before, int most);

  // Queued or running, the oldest first.
  absl::StatusOr<std::vector<Job>> Unfinished();

  absl::StatusOr<std::map<JobState, std::int64_t>> CountByState();

  // When the last job succeeded, in milliseconds since 1970; 0: none has that is still there.
  absl::StatusOr<std::int64_t> LastSuccessMillis();

  // The newest job with this fingerprint.
  absl::StatusOr<std::optional<Job>> FindFingerprint(const std::string& fingerprint);

 private:
  explicit JobStore(sqlite3* database) : database_(database) {}

  Mutex mutex_;
  sqlite3* const database_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_JOB_STORE_H_
