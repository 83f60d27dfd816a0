// A training job as the store keeps it.
#ifndef LLAVA_TRAINING_SERVICE_JOB_H_
#define LLAVA_TRAINING_SERVICE_JOB_H_

#include <cstdint>
#include <string>

namespace llava::training {

// The numbers stand in the database: never change one.
enum class JobState {
  kQueued = 1,
  kRunning = 2,
  kSucceeded = 3,
  kFailed = 4,
  kCancelled = 5,
  kRejected = 6,  // trained, but not good enough to become the latest version
};

inline bool HasEnded(JobState state) {
  return state != JobState::kQueued && state != JobState::kRunning;
}

struct Job {
  std::int64_t id = 0;  // 1, 2, ...; 0 before it is stored
  JobState state = JobState::kQueued;
  std::string recipe = {};            // YAML
  std::string creator = {};           // a token's name, or a trigger's
  std::int64_t created_ms = 0;        // since 1970
  std::int64_t started_ms = 0;        // the first time; 0: never
  std::int64_t ended_ms = 0;          // 0: not yet
  int attempts = 0;                   // times that it began; restarts of the service do not count
  bool cancel_requested = false;      // outlives the service
  std::string message = {};           // why it failed
  std::string data_fingerprint = {};  // of what a trigger saw
  std::int64_t deadline_ms = 0;       // since 1970, then it is ended; 0: none
  std::string inputs = {};            // of a trigger's job (JobInputsJson); "" of others
  int crashes = 0;                    // starts in a row whose end no service has seen yet

  bool operator==(const Job&) const = default;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_JOB_H_
