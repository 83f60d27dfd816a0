#include "training/publish/publish.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/checkpoint/version_lease.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr char kStaging[] = "/.publishing";
constexpr char kLatest[] = "/latest";
constexpr char kNewLatest[] = "/.latest-new";
constexpr char kDeleting[] = "/.deleting";
constexpr char kRolledBack[] = "/.rolled-back";
constexpr char kPinned[] = "/.pinned";
constexpr std::size_t kNameDigits = 12;
constexpr std::size_t kMaxNoteBytes = std::size_t{1} << 16;

// One publisher (or deleter) at a time: others wait until it is done. The lock goes with the
// process.
class RootLock {
 public:
  static absl::StatusOr<RootLock> Take(const std::string& root, const OnMessage& on_message) {
    const std::string path = root + "/.lock";
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return absl::ErrnoToStatus(errno, path);
    RootLock lock(fd);
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno == EWOULDBLOCK) {
      on_message(absl::StrCat("waits for ", root, ", where another process publishes or deletes"));
    }
    while (::flock(fd, LOCK_EX) != 0) {
      if (errno != EINTR) return absl::ErrnoToStatus(errno, path);
    }
    return lock;
  }
  RootLock(RootLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RootLock& operator=(RootLock&&) = delete;
  ~RootLock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  explicit RootLock(int fd) : fd_(fd) {}
  int fd_;
};

// The number of "v000012-3f2a9c0d11e4", or 0 for other names.
int NumberOf(const std::string& name) {
  int number = 0;
  const std::size_t dash = name.find('-');
  if (name.size() < 3 || name[0] != 'v' || dash == name.npos) return 0;
  return absl::SimpleAtoi(name.substr(1, dash - 1), &number) && number > 0 ? number : 0;
}

// Every file, then every folder from the inside out.
absl::Status SyncTree(const std::string& dir, FileLayer& files) {
  std::error_code error;
  std::vector<std::string> folders = {dir};
  for (fs::recursive_directory_iterator at(dir, error), end; !error && at != end;
       at.increment(error)) {
    if (at->is_directory()) {
      folders.push_back(at->path().string());
    } else {
      RETURN_IF_ERROR(files.SyncFile(at->path().string()));
    }
  }
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("listing ", dir));
  std::sort(folders.rbegin(), folders.rend());
  for (const std::string& folder : folders) RETURN_IF_ERROR(files.SyncFolder(folder));
  return absl::OkStatus();
}

// The staging folder complete with its manifest, all on the disk. Returns the version's name.
absl::StatusOr<std::string> Stage(const std::string& staging, model::Manifest manifest,
                                  const WriteCheckpoint& write, FileLayer& files) {
  RETURN_IF_ERROR(files.RemoveAll(staging));  // what a killed publisher left
  RETURN_IF_ERROR(files.MakeFolder(staging));
  RETURN_IF_ERROR(write(staging));
  ASSIGN_OR_RETURN(manifest.files, model::DescribeFiles(staging));
  RETURN_IF_ERROR(SyncTree(staging, files));
  const std::string json = model::ManifestJson(manifest);
  RETURN_IF_ERROR(model::ParseManifest(json).status());  // probes name files that are there
  const std::string path = absl::StrCat(staging, "/", model::kManifestFile);
  RETURN_IF_ERROR(files.WriteFile(path, json));
  RETURN_IF_ERROR(files.SyncFile(path));
  RETURN_IF_ERROR(files.SyncFolder(staging));
  return model::VersionOf(json);
}

absl::Status PointLatest(const std::string& root, const std::string& name, FileLayer& files) {
  RETURN_IF_ERROR(files.RemoveAll(root + kNewLatest));
  RETURN_IF_ERROR(files.Symlink(name, root + kNewLatest));
  RETURN_IF_ERROR(files.Rename(root + kNewLatest, root + kLatest));
  return files.SyncFolder(root);
}

}  // namespace

// As servers note what they have rolled back (server/registry/published.h).
absl::Status NoteRollback(const std::string& root, const std::string& version,
                          const std::string& why, FileLayer& files) {
  const std::string folder = root + kRolledBack;
  RETURN_IF_ERROR(files.MakeFolder(folder));
  const std::string note = absl::StrCat(folder, "/", version);
  RETURN_IF_ERROR(files.WriteFile(note, why));
  RETURN_IF_ERROR(files.SyncFile(note));
  return files.SyncFolder(folder);
}

absl::StatusOr<std::vector<PublishedVersion>> ListVersions(const std::string& root) {
  std::error_code error;
  std::vector<std::pair<int, PublishedVersion>> found;
  for (fs::directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
    const int number = NumberOf(at->path().filename().string());
    std::error_code ignored;  // then its manifest cannot be read either
    if (number == 0 || at->is_symlink(ignored)) continue;
    const auto read = model::ReadManifest(at->path().string());
    if (!read.ok()) continue;  // not complete, or not ours
    found.push_back({number, {read->version, at->path().string()}});
  }
  if (error) return absl::ErrnoToStatus(error.value(), root);
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<PublishedVersion> versions;
  for (auto& [number, version] : found) versions.push_back(std::move(version));
  return versions;
}

absl::StatusOr<PublishedVersion> LatestVersion(const std::string& root) {
  std::error_code error;
  const fs::path target = fs::read_symlink(root + kLatest, error);
  if (error) return absl::ErrnoToStatus(error.value(), root + kLatest);
  const std::string dir = absl::StrCat(root, "/", target.filename().string());
  ASSIGN_OR_RETURN(const model::CheckpointVersion read, model::ReadManifest(dir));
  return PublishedVersion{read.version, dir};
}

namespace {

// The versions that `latest` has named: a server that took it back answers with one of them.
absl::StatusOr<std::vector<PublishedVersion>> UpToLatest(const std::string& root) {
  ASSIGN_OR_RETURN(const PublishedVersion latest, LatestVersion(root));
  ASSIGN_OR_RETURN(std::vector<PublishedVersion> versions, ListVersions(root));
  const auto after = std::find_if(versions.begin(), versions.end(),
                                  [&](const auto& other) { return other.dir == latest.dir; });
  if (after != versions.end()) versions.erase(after + 1, versions.end());
  return versions;
}

}  // namespace

std::optional<std::string> RollbackNote(const std::string& root, const std::string& version) {
  auto note = ReadFile(absl::StrCat(root, kRolledBack, "/", version), kMaxNoteBytes);
  if (note.ok()) return *std::move(note);
  if (absl::IsNotFound(note.status())) return std::nullopt;
  return "";  // it is there, whatever it says
}

absl::StatusOr<PublishedVersion> LiveVersion(const std::string& root) {
  ASSIGN_OR_RETURN(const std::vector<PublishedVersion> versions, UpToLatest(root));
  for (auto version = versions.rbegin(); version != versions.rend(); ++version) {
    if (!RollbackNote(root, version->version)) return *version;
  }
  return absl::NotFoundError(absl::StrCat(root, ": all its versions were taken back"));
}

absl::StatusOr<bool> HasBeenLatest(const std::string& root, const std::string& version) {
  ASSIGN_OR_RETURN(const std::vector<PublishedVersion> versions, UpToLatest(root));
  return std::any_of(versions.begin(), versions.end(),
                     [&](const auto& other) { return other.version == version; });
}

absl::StatusOr<PublishedVersion> Publish(const std::string& root, model::Manifest manifest,
                                         const WriteCheckpoint& write, FileLayer& files,
                                         const BeforeVisible& before_visible,
                                         const OnMessage& on_message) {
  RETURN_IF_ERROR(files.MakeFolder(root));
  ASSIGN_OR_RETURN(const RootLock lock, RootLock::Take(root, on_message));
  const std::string staging = root + kStaging;
  const std::string rejected = manifest.rejected;
  ASSIGN_OR_RETURN(const std::string version, Stage(staging, std::move(manifest), write, files));
  ASSIGN_OR_RETURN(const std::vector<PublishedVersion> versions, ListVersions(root));
  PublishedVersion published{version, ""};
  int number = 0;
  for (const PublishedVersion& other : versions) {
    number = std::max(number, NumberOf(fs::path(other.dir).filename().string()));
    if (other.version == version) published.dir = other.dir;
  }
  const bool is_new = published.dir.empty();
  if (is_new) {
    published.dir =
        absl::StrFormat("%s/v%06d-%s", root, number + 1, version.substr(0, kNameDigits));
    RETURN_IF_ERROR(before_visible(published));
  }
  if (!rejected.empty()) RETURN_IF_ERROR(NoteRollback(root, version, rejected, files));
  if (is_new) {
    RETURN_IF_ERROR(files.RemoveAll(published.dir));  // incomplete: ListVersions passed over it
    RETURN_IF_ERROR(files.Rename(staging, published.dir));
    RETURN_IF_ERROR(files.SyncFolder(root));
  } else {
    RETURN_IF_ERROR(files.RemoveAll(staging));
  }
  if (rejected.empty()) {
    RETURN_IF_ERROR(PointLatest(root, fs::path(published.dir).filename().string(), files));
  }
  return published;
}

absl::Status SetPinned(const std::string& dir, bool pinned) {
  RETURN_IF_ERROR(model::ReadManifest(dir).status());
  RealFiles files;
  return pinned ? files.WriteFile(dir + kPinned, "") : files.RemoveAll(dir + kPinned);
}

absl::StatusOr<std::vector<std::string>> DeleteOldVersions(const std::string& root, int keep,
                                                           FileLayer& files,
                                                           const std::string& spared,
                                                           const OnMessage& on_message) {
  LLAVA_CHECK_GE(keep, 1);
  ASSIGN_OR_RETURN(const RootLock lock, RootLock::Take(root, on_message));
  RETURN_IF_ERROR(files.RemoveAll(root + kDeleting));  // what a killed deleter left
  ASSIGN_OR_RETURN(std::vector<PublishedVersion> versions, ListVersions(root));
  std::stable_partition(versions.begin(), versions.end(), [&](const PublishedVersion& version) {
    return RollbackNote(root, version.version).has_value();
  });
  const auto latest = LatestVersion(root);
  if (!latest.ok() && !absl::IsNotFound(latest.status())) return latest.status();
  const auto live = LiveVersion(root);  // an older one, where the latest was taken back
  std::vector<std::string> deleted;
  auto excess = static_cast<std::ptrdiff_t>(versions.size()) - keep;
  for (const PublishedVersion& version : versions) {
    if (excess <= 0) break;
    if (latest.ok() && version.dir == latest->dir) continue;
    if (live.ok() && version.dir == live->dir) continue;
    if (version.dir == spared || fs::exists(version.dir + kPinned)) continue;
    const auto lease = model::VersionLease::Own(version.dir);
    if (!lease.ok()) continue;  // served
    RETURN_IF_ERROR(files.Rename(version.dir, root + kDeleting));
    RETURN_IF_ERROR(files.RemoveAll(root + kDeleting));
    deleted.push_back(version.dir);
    --excess;
  }
  return deleted;
}

}  // namespace llava::training
