// Starts a job when new data shards have arrived in a folder.
#ifndef LLAVA_TRAINING_SERVICE_TRIGGER_H_
#define LLAVA_TRAINING_SERVICE_TRIGGER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava::training {

struct TriggerOptions {
  std::string name;          // the creator of its jobs
  std::string watch;         // *.json, *.jsonl, *.gz in it, by name, are the shards
  std::string recipe;        // file; ${SHARDS} in it becomes the list of the shards' paths
  std::string trigger_file;  // when given, looks only after this file appeared or was touched
  std::string published;     // versions whose manifests say what was trained on; may be empty
};

// Used by one thread. A folder must look the same at two looks in a row, so that no shard is read
// while it is being written.
class Trigger {
 public:
  explicit Trigger(TriggerOptions options) : options_(std::move(options)) {}

  // True when a job with this fingerprint exists (whatever became of it, unless it failed).
  using IsKnown = std::function<absl::StatusOr<bool>(const std::string& fingerprint)>;
  using Create = std::function<absl::Status(const std::string& recipe, const std::string& creator,
                                            const std::string& fingerprint)>;

  // Looks once; creates at most one job. Errors (a folder that cannot be read, ...) name it; the
  // next look tries again.
  absl::Status Look(const IsKnown& is_known, const Create& create);

 private:
  absl::StatusOr<bool> WasTrainedOn(const std::string& fingerprint) const;

  const TriggerOptions options_;
  std::string seen_;     // what the folder looked like at the last look
  std::string handled_;  // what it looked like when a job was made, or none was needed
};

// The paths of the shards in `folder`, sorted by name.
absl::StatusOr<std::vector<std::string>> ListShards(const std::string& folder);

// SHA-256 over the bytes of all shards in order: InstructionDataset's fingerprint.
absl::StatusOr<std::string> FingerprintOf(const std::vector<std::string>& shards);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_TRIGGER_H_
