// Starts a job when new data shards have arrived in a folder.
#ifndef LLAVA_TRAINING_SERVICE_TRIGGER_H_
#define LLAVA_TRAINING_SERVICE_TRIGGER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "training/service/job.h"

namespace llava::training {

struct TriggerOptions {
  std::string name;          // the creator of its jobs
  std::string watch;         // *.json, *.jsonl, *.gz in it, by name, are the shards
  std::string recipe;        // file; ${SHARDS} in it becomes the list of the shards' paths
  std::string trigger_file;  // when given, looks only after this file appeared or was touched
  std::string published;     // versions whose manifests say what was trained on; may be empty
  std::int64_t retries = 2;  // a failed job is started again so often
  std::int64_t retry_seconds = 300;  // after the first failure; then twice as long each time
};

// What a trigger needs of the jobs. Everything may fail: the next look tries again.
struct TriggerJobs {
  // The newest job with this fingerprint.
  std::function<absl::StatusOr<std::optional<Job>>(const std::string& fingerprint)> find;
  std::function<absl::Status(const std::string& recipe, const std::string& creator,
                             const std::string& fingerprint)>
      create;
  // Queues a failed job again: it goes on in its folder, from its last save.
  std::function<absl::Status(std::int64_t id)> retry;
};

// Used by one thread. A folder must look the same at two looks in a row, so that no shard is read
// while it is being written.
class Trigger {
 public:
  explicit Trigger(TriggerOptions options) : options_(std::move(options)) {}

  // Looks once; creates or retries at most one job. `now_ms`: since 1970. Errors (a folder that
  // cannot be read, ...) name it; the next look tries again.
  absl::Status Look(const TriggerJobs& jobs, std::int64_t now_ms);

 private:
  absl::StatusOr<bool> WasTrainedOn(const std::string& fingerprint) const;
  bool IsDue(const Job& failed, std::int64_t now_ms) const;
  absl::Status Create(const TriggerJobs& jobs, const std::vector<std::string>& shards) const;

  const TriggerOptions options_;
  std::string seen_;         // what the folder looked like at the last look
  std::string handled_;      // what it looked like when a job was made, or none was needed
  std::string fingerprint_;  // of the shards then
};

// The paths of the shards in `folder`, sorted by name.
absl::StatusOr<std::vector<std::string>> ListShards(const std::string& folder);

// SHA-256 over the bytes of all shards in order: InstructionDataset's fingerprint.
absl::StatusOr<std::string> FingerprintOf(const std::vector<std::string>& shards);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_TRIGGER_H_
