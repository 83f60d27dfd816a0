#include "server/registry/published.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/durable_file.h"
#include "base/file.h"

namespace llava::registry {
namespace {

namespace fs = std::filesystem;

constexpr char kLatest[] = "latest";
constexpr char kManifest[] = "manifest.json";
constexpr char kRolledBack[] = ".rolled-back";
constexpr std::size_t kMaxNoteBytes = std::size_t{64} << 10;

fs::path RollbackNote(const std::string& root, const Digest& version) {
  return fs::path(root) / kRolledBack / version.Hex();
}

}  // namespace

std::optional<std::string> ReadLatestLink(const std::string& root) {
  std::error_code error;
  const fs::path target = fs::read_symlink(fs::path(root) / kLatest, error);
  if (error) return std::nullopt;
  return (target.is_absolute() ? target : fs::path(root) / target).lexically_normal().string();
}

std::vector<std::string> ListVersions(const std::string& root) {
  std::vector<std::string> dirs;
  std::error_code error;
  for (fs::directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;  // such an entry is no version
    const bool hidden = at->path().filename().string().starts_with('.');
    if (hidden || at->is_symlink(ignored)) continue;
    if (!fs::is_regular_file(at->path() / kManifest, ignored)) continue;
    dirs.push_back(at->path().lexically_normal().string());
  }
  std::sort(dirs.begin(), dirs.end(), std::greater<>());
  return dirs;
}

std::string FolderFingerprint(const std::string& dir) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    // A link in a circle, or a file that has gone meanwhile, has neither size nor time.
    std::error_code ignored;
    const bool regular = at->is_regular_file(ignored);
    files.push_back(absl::StrCat(at->path().filename().string(), " ",
                                 regular ? at->file_size(ignored) : 0, " ",
                                 at->last_write_time(ignored).time_since_epoch().count(), "\n"));
  }
  if (error) return absl::StrCat("error ", error.value());
  std::sort(files.begin(), files.end());
  return absl::StrJoin(files, "");
}

std::optional<std::string> ReadRollbackNote(const std::string& root, const Digest& version) {
  absl::StatusOr<std::string> reason =
      ReadFile(RollbackNote(root, version).string(), kMaxNoteBytes);
  if (!reason.ok()) return std::nullopt;
  return *std::move(reason);
}

// Written beside its place and renamed there: a reader sees all of it or nothing, and whatever else
// stands at the place (a pipe would be waited for) is replaced.
absl::Status WriteRollbackNote(const std::string& root, const Digest& version,
                               const std::string& reason) {
  const fs::path note = RollbackNote(root, version);
  std::error_code error;
  fs::create_directories(note.parent_path(), error);
  if (error) return absl::ErrnoToStatus(error.value(), note.parent_path().string());
  const std::string fresh = absl::StrCat(note.string(), ".", getpid(), ".new");
  fs::remove(fresh, error);  // of a daemon that was killed while it wrote
  const absl::Status written = WriteFile(fresh, reason);
  // On a full disk an empty note says the most important thing.
  const absl::Status renamed = RenameFile(fresh, note.string());
  return written.ok() ? renamed : written;
}

void DeleteRollbackNote(const std::string& root, const Digest& version) {
  std::error_code ignored;
  fs::remove(RollbackNote(root, version), ignored);
}

}  // namespace llava::registry
