// One process at a time works in a run's folder.
#ifndef LLAVA_TRAINING_RUN_RUN_LOCK_H_
#define LLAVA_TRAINING_RUN_RUN_LOCK_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/file.h"

namespace llava::training {

// Movable; the lock (flock on `folder`/.lock) lives as long as the object, and ends with the
// process whatever ends it. Any thread.
class RunLock {
 public:
  // UNAVAILABLE names the folder and the process that has it.
  static absl::StatusOr<RunLock> Take(const std::string& folder);

 private:
  explicit RunLock(FileDescriptor file) : file_(std::move(file)) {}

  FileDescriptor file_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_RUN_LOCK_H_
