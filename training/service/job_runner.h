// Runs queued jobs, each as a child process, oldest first. The one thread of this class starts,
// watches, cancels and ends them; everybody else only writes wishes into the store and wakes it.
#ifndef LLAVA_TRAINING_SERVICE_JOB_RUNNER_H_
#define LLAVA_TRAINING_SERVICE_JOB_RUNNER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/machine/child_process.h"
#include "base/mutex.h"
#include "training/service/job.h"
#include "training/service/job_store.h"

namespace llava::training {

class JobRunner;

// A process of a job, or how the job ends: without a command.
struct JobStep {
  std::vector<std::string> command;
  JobState state = JobState::kSucceeded;
  std::string message;
};

// A job that is several processes, one after the other. On the runner's thread.
class JobSteps {
 public:
  virtual ~JobSteps() = default;

  // What comes next, in the job's folder.
  virtual absl::StatusOr<JobStep> Next(const Job& job, const std::string& folder) = 0;

  // A process has ended, with the last line that it printed. `folder`: the job's. Not OK: the job
  // fails with that.
  virtual absl::Status Ended(const Job& job, const std::string& folder, int exit_code,
                             const std::string& why) = 0;
};

struct JobRunnerOptions {
  std::string folder;                // jobs live in folder/<id>
  std::vector<std::string> command;  // the recipe's path is appended: llava-train run
  int max_running = 1;
  int max_unfinished = 1000;                  // queued and running
  Duration grace = std::chrono::seconds(60);  // between SIGTERM and SIGKILL
  Duration tick_interval = std::chrono::seconds(10);
  std::function<void(JobRunner&)> on_tick = nullptr;  // on the runner's thread, every interval
  // Whether a job may be made of this text; its error is Create's. Any thread.
  std::function<absl::Status(const std::string& recipe)> check_recipe = nullptr;
  // The processes of a job; nullptr: it is the one of `command`.
  std::function<JobSteps*(const Job& job)> steps_of = nullptr;
  // A job has ended and is about to be stored so; on the runner's thread. After a crash it may come
  // again.
  std::function<void(const Job& job)> on_end = nullptr;
  // Told once of each job whose end cannot be stored yet, and why; on the runner's thread.
  std::function<void(const absl::Status&)> on_problem = nullptr;
};

// Create to Delete are thread-safe. Jobs that ran when the process ended start again, before those
// that wait: their training goes on from its last save. A job that is past its deadline is ended at
// the next tick at the latest, and fails.
class JobRunner {
 public:
  // `store` and `clock` outlive this. Starts the thread.
  JobRunner(JobStore& store, const Clock& clock, JobRunnerOptions options);
  // Ends the children (SIGTERM, then SIGKILL) but not their jobs, and joins.
  ~JobRunner();

  // Stores a job of `wanted`'s recipe, creator, fingerprint, inputs and deadline.
  // RESOURCE_EXHAUSTED: too many unfinished jobs. INVALID_ARGUMENT: an empty or too long recipe, or
  // one that check_recipe refuses.
  absl::StatusOr<Job> Create(const Job& wanted);
  absl::StatusOr<Job> Cancel(std::int64_t id);
  // Queues a failed job again. FAILED_PRECONDITION: it did not fail.
  absl::Status Retry(std::int64_t id);
  // With its folder. FAILED_PRECONDITION: it has not ended, or versions were published in there.
  absl::Status Delete(std::int64_t id);

  // The newest JSON line of the job's output; "" without one.
  std::string Progress(std::int64_t id) const;
  std::string JobFolder(std::int64_t id) const;

  // What the job's processes have printed: its size in bytes, and at most `most` bytes from
  // `offset` on; 0 and "" where there is nothing (yet).
  std::int64_t LogSize(std::int64_t id) const;
  std::string ReadLog(std::int64_t id, std::int64_t offset, std::int64_t most) const;

  // Counts changes of jobs. WaitForChange returns when the count is no longer `seen`, or at
  // `deadline`, or when the runner stops.
  std::int64_t changes();
  void WaitForChange(std::int64_t seen, TimePoint deadline);

 private:
  struct Running {
    ChildProcess process;
    TimePoint kill_at = TimePoint::max();  // after it was asked to end
    bool is_late = false;                  // that was because of its deadline
  };

  void Loop();
  void StartQueued();
  absl::Status Start(Job* job);
  absl::Status StartProcess(const Job& job);
  void GoOn(const Job& job, int exit_code, const std::string& how, const std::string& last);
  void Reap();
  void Ended(std::int64_t id, const Running& running, const std::string& how);
  JobSteps* StepsOf(const Job& job) const;
  bool IsLate(const Job& job) const;
  void EndCancelledAndLate();
  void Poll();
  void StopChildren();
  void Finish(Job job, JobState state, const std::string& message);
  void StoreEnds();
  void Changed();
  void Wake();

  JobStore& store_;
  const Clock& clock_;
  const JobRunnerOptions options_;
  const int wake_;                           // an eventfd
  std::map<std::int64_t, Running> running_;  // the runner's thread only
  std::map<std::int64_t, Job> unstored_;     // ends that the store did not take; its thread only
  TimePoint next_tick_;                      // the runner's thread only
  bool ending_ = false;                      // the runner's thread only

  Mutex mutex_;
  CondVar changed_;
  std::int64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;  // "jobs"
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_JOB_RUNNER_H_
