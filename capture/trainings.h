// Which shards were taken by which training runs, and what came of these: a record a run in
// CAPTURE/trainings, written before a run reads a shard. What a run has taken is never rewritten.
#ifndef LLAVA_CAPTURE_TRAININGS_H_
#define LLAVA_CAPTURE_TRAININGS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file.h"

namespace llava::capture {

struct Training {
  std::string run;                    // the folder of the run
  std::vector<std::string> shards;    // names
  std::vector<std::string> versions;  // that it published

  bool operator==(const Training&) const = default;
};

// Held by one process at a time: by a run while it chooses shards and writes that down, by a
// removal while it looks what was chosen and rewrites the rest. Movable.
class TrainingsLock {
 public:
  // Waits for it; makes the folder where there is none. Errors carry errno's code and the path.
  static absl::StatusOr<TrainingsLock> Take(const std::string& dir);

 private:
  explicit TrainingsLock(FileDescriptor file) : file_(std::move(file)) {}

  FileDescriptor file_;
};

// In no order. INVALID_ARGUMENT names a record that does not read.
absl::StatusOr<std::vector<Training>> ReadTrainings(const std::string& dir);

// Replaces the record of the same run. REQUIRES: the lock is held.
absl::Status WriteTraining(const Training& training, const std::string& dir);

// Adds a version to the record of `run`, if there is one. Takes the lock.
absl::Status AddVersion(const std::string& run, const std::string& version, const std::string& dir);

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_TRAININGS_H_
