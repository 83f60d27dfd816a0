// Starts a job when new data shards have arrived in a folder, or when people have said other things
// of the captured turns that its recipe learns from, at once or at set times.
#ifndef LLAVA_TRAINING_SERVICE_TRIGGER_H_
#define LLAVA_TRAINING_SERVICE_TRIGGER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "capture/admission.h"
#include "training/service/captured_filters.h"
#include "training/service/cron_schedule.h"
#include "training/service/job.h"
#include "training/service/job_inputs.h"
#include "training/service/job_store.h"
#include "training/service/shards.h"

namespace llava::training {

struct TriggerOptions {
  std::string name;          // the creator of its jobs
  std::string watch;         // *.json, *.jsonl, *.gz in it, by name, are the shards
  std::string recipe;        // file; RenderRecipe says what is replaced in it
  std::string trigger_file;  // when given, looks only after this file appeared or was touched
  std::string published;     // where versions go: who has learned what, what is live; may be empty
  std::optional<CronSchedule> schedule = {};  // when given, jobs are made at these times only
  // Of shards that no job has learned, and captured ones that the recipe admits and did not before,
  // or the other way round; fewer make no job.
  std::int64_t min_new_rows = 0;
  std::int64_t retries = 2;           // a failed job is started again so often
  std::int64_t backoff_ms = 300'000;  // after the first failure; then twice as long each time
  std::int64_t deadline_ms = 0;       // a job is ended so long after it was made; 0: never
  Mix mix = {};                       // of new and old rows
  bool one_at_a_time = false;  // a job waits for the end of the one before, as with a schedule
  bool always = false;         // jobs are made of no new shards too: rows will be generated
  std::string scratch = {};    // folder for unpacked shards
};

// When a job that failed is tried again, in milliseconds since 1970; nothing: never. The n-th
// failure waits 2^(n-1) times as long.
std::optional<std::int64_t> RetryTime(const TriggerOptions& trigger, const Job& job);

// What a trigger needs of the service. Everything may fail: the next look tries again.
struct TriggerJobs {
  // This trigger's newest job with this fingerprint.
  std::function<absl::StatusOr<std::optional<Job>>(const std::string& fingerprint)> find;
  // This trigger's job that has learned data of this fingerprint, also when it is no longer there;
  // 0: none has.
  std::function<absl::StatusOr<std::int64_t>(const std::string& fingerprint)> trained;
  // This trigger's newest job.
  std::function<absl::StatusOr<std::optional<Job>>()> newest;
  // `captured`: the rows of captured turns that it is made of.
  std::function<absl::Status(const Job& job, const capture::AdmittedRows& captured)> create;
  // Queues a failed job again: it goes on in its folder, from its last save.
  std::function<absl::Status(std::int64_t id)> retry;
  // As JobStore has them, for this trigger.
  std::function<absl::StatusOr<std::int64_t>()> handled;
  std::function<absl::Status(std::int64_t ms)> set_handled;
  std::function<absl::StatusOr<std::map<std::string, KnownShard>>()> known;
  // Remembers that no later job shall learn a shard.
  std::function<absl::Status(const std::string& sha256, const KnownShard& known)> quarantine;
  // The captured rows of this trigger's last job that learned.
  std::function<absl::StatusOr<capture::AdmittedRows>()> learned;
  // A line that says why a time that was due made no job.
  std::function<void(const std::string& line)> say;
};

// Used by one thread. A folder must look the same at two looks in a row, so that no shard is read
// while it is being written. Captured shards are never half written: nobody waits for them to be
// still, but a job that learns from them waits for the end of the one before, as with a schedule.
//
// A shard that is no whole file of rows, or is empty and had rows for the job before, is set aside,
// as is a damaged captured one, which is said and stands in the job's inputs: the others are
// learned without it, and it is looked at again when the folder has changed.
//
// A shard that was new to a version which has been taken back since (by a server, an operator) is
// quarantined: no later job learns it.
class Trigger {
 public:
  explicit Trigger(TriggerOptions options) : options_(std::move(options)) {}

  // Looks once; creates or retries at most one job. `now_ms`: since 1970. Errors (a folder that
  // cannot be read, ...) name it; the next look tries again.
  //
  // A time of the schedule that passed while the service was down, the folder changed, or the
  // trigger's job before ran, is made up for once. When the clock is set back, times that were
  // handled do not come again, unless it is set back by more than a day: then it was wrong before.
  absl::Status Look(const TriggerJobs& jobs, std::int64_t now_ms);

 private:
  absl::StatusOr<bool> WasTrainedOn(const std::string& fingerprint) const;
  absl::StatusOr<bool> IsTime(const TriggerJobs& jobs, const std::optional<Job>& newest,
                              std::int64_t now_ms) const;
  absl::StatusOr<std::vector<CapturedFilter>> Captured() const;
  absl::Status MakeJob(const TriggerJobs& jobs, const std::vector<std::string>& paths,
                       const std::vector<CapturedFilter>& captured, std::int64_t now_ms) const;
  absl::Status Quarantine(const TriggerJobs& jobs, std::map<std::string, KnownShard>* known) const;
  absl::StatusOr<JobInputs> Inputs(const TriggerJobs& jobs,
                                   const std::vector<std::string>& paths) const;
  absl::StatusOr<std::string> WhyNot(const TriggerJobs& jobs, const std::string& fingerprint,
                                     const JobInputs& inputs) const;

  const TriggerOptions options_;
  std::string seen_;     // what the folder looked like at the last look
  std::string handled_;  // what it looked like when a job was made, or none was needed
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_TRIGGER_H_
