// Says that a process uses a version's folder, so that the publisher's retention leaves it alone: a
// shared lock (flock) on its manifest.json, gone with the process whatever ends it.
#ifndef LLAVA_MODEL_CHECKPOINT_VERSION_LEASE_H_
#define LLAVA_MODEL_CHECKPOINT_VERSION_LEASE_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/file.h"

namespace llava::model {

// Movable; the lock lives as long as the object. Any thread.
class VersionLease {
 public:
  // For a reader. NOT_FOUND: no manifest.json, also when the folder is just being deleted.
  static absl::StatusOr<VersionLease> Share(const std::string& dir);

  // For who deletes. FAILED_PRECONDITION: somebody shares it.
  static absl::StatusOr<VersionLease> Own(const std::string& dir);

 private:
  explicit VersionLease(FileDescriptor manifest) : manifest_(std::move(manifest)) {}
  static absl::StatusOr<VersionLease> Lock(const std::string& dir, int operation);

  FileDescriptor manifest_;  // holds the lock
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_VERSION_LEASE_H_
