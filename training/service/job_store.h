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
#include "capture/admission.h"
#include "training/service/job.h"

struct sqlite3;

namespace llava::training {

// What became of a shard that a trigger made a job of.
struct KnownShard {
  std::string version;      // the first that learned it; "" when it is not known
  std::string quarantined;  // why no later job learns it; "" when they do

  bool operator==(const KnownShard&) const = default;
};

// The numbers stand in the database: never change one.
enum class StepState { kBegun = 1, kDone = 2, kFailed = 3, kSkipped = 4, kRejected = 5 };

// A step of a job's pipeline.
struct StepRecord {
  StepState state = StepState::kBegun;
  std::int64_t began_ms = 0;  // since 1970
  std::int64_t ended_ms = 0;  // 0: not yet
  std::string message;

  bool operator==(const StepRecord&) const = default;
};

using StepRecords = std::map<std::string, StepRecord>;  // by name

struct WaitingStep {
  std::int64_t job = 0;
  std::string message;
};

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

  // The newest job of this creator with this fingerprint: another trigger's job has taught another
  // model.
  absl::StatusOr<std::optional<Job>> FindFingerprint(const std::string& creator,
                                                     const std::string& fingerprint);

  // The newest job of this creator.
  absl::StatusOr<std::optional<Job>> FindNewest(const std::string& creator);

  // The steps of a job that have begun, by name. A step is recorded before it begins and when it
  // has ended.
  absl::StatusOr<StepRecords> Steps(std::int64_t job);
  absl::Status RecordStep(std::int64_t job, const std::string& name, const StepRecord& step);

  // The steps of this name, of all jobs, that have begun and not ended.
  absl::StatusOr<std::vector<WaitingStep>> Begun(const std::string& name);

  // Until when the schedule of a trigger has been looked after; 0: never.
  absl::StatusOr<std::int64_t> HandledMillis(const std::string& name);
  absl::Status SetHandledMillis(const std::string& name, std::int64_t ms);

  // The shards of a trigger's jobs that have ended, by SHA-256; they outlive the jobs.
  absl::StatusOr<std::map<std::string, KnownShard>> KnownShards(const std::string& name);
  absl::Status RecordShard(const std::string& name, const std::string& sha256,
                           const KnownShard& known);

  // A trigger's job has learned data of this fingerprint, which outlives the job. Again is allowed.
  absl::Status RecordTrained(const std::string& name, const std::string& fingerprint,
                             std::int64_t job);
  // The last job of the trigger that has learned data of this fingerprint; 0: none has.
  absl::StatusOr<std::int64_t> TrainedBy(const std::string& name, const std::string& fingerprint);

  // The captured rows that a trigger's unfinished job was made of; those of its jobs before that
  // learned nothing go.
  absl::Status RecordAdmitted(const std::string& name, std::int64_t job,
                              const capture::AdmittedRows& rows);
  // The job has learned: they are what the next one is compared with. Again is allowed.
  absl::Status LearnAdmitted(const std::string& name, std::int64_t job);
  // Of the trigger's last job that learned; they outlive the job.
  absl::StatusOr<capture::AdmittedRows> LearnedRows(const std::string& name);

 private:
  explicit JobStore(sqlite3* database) : database_(database) {}

  Mutex mutex_;
  sqlite3* const database_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_JOB_STORE_H_
