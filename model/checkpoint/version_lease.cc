#include "model/checkpoint/version_lease.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"

namespace llava::model {

absl::StatusOr<VersionLease> VersionLease::Lock(const std::string& dir, int operation) {
  const std::string path = absl::StrCat(dir, "/", kManifestFile);
  ASSIGN_OR_RETURN(FileDescriptor manifest, OpenRegularFile(path));
  VersionLease lease(std::move(manifest));
  if (::flock(lease.manifest_.get(), operation | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return absl::ErrnoToStatus(errno, path);
    return absl::FailedPreconditionError(absl::StrCat(dir, ": another process uses or deletes it"));
  }
  // Deleting moves the folder away while it holds the lock: what was opened must still be there.
  struct stat opened{}, there{};
  if (::fstat(lease.manifest_.get(), &opened) != 0 || ::stat(path.c_str(), &there) != 0 ||
      opened.st_ino != there.st_ino || opened.st_dev != there.st_dev) {
    return absl::NotFoundError(absl::StrCat(dir, ": was deleted"));
  }
  return lease;
}

absl::StatusOr<VersionLease> VersionLease::Share(const std::string& dir) {
  auto lease = Lock(dir, LOCK_SH);
  if (absl::IsFailedPrecondition(lease.status())) {
    return absl::NotFoundError(absl::StrCat(dir, ": is being deleted"));
  }
  return lease;
}

absl::StatusOr<VersionLease> VersionLease::Own(const std::string& dir) {
  return Lock(dir, LOCK_EX);
}

}  // namespace llava::model
