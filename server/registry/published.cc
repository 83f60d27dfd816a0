#include "server/registry/published.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace llava::registry {
namespace {

namespace fs = std::filesystem;

constexpr char kLatest[] = "latest";
constexpr char kManifest[] = "manifest.json";
constexpr char kRolledBack[] = ".rolled-back";
constexpr std::size_t kMaxNoteBytes = std::size_t{64} << 10;

fs::path Note(const std::string& root, const Digest& version) {
  return fs::path(root) / kRolledBack / version.Hex();
}

}  // namespace

std::optional<std::string> LatestIn(const std::string& root) {
  std::error_code error;
  const fs::path target = fs::read_symlink(fs::path(root) / kLatest, error);
  if (error) return std::nullopt;
  return (target.is_absolute() ? target : fs::path(root) / target).lexically_normal().string();
}

std::vector<std::string> VersionsIn(const std::string& root) {
  std::vector<std::string> dirs;
  std::error_code error;
  for (fs::directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    const bool hidden = at->path().filename().string().starts_with('.');
    if (hidden || at->is_symlink(ignored) || !fs::exists(at->path() / kManifest, ignored)) continue;
    dirs.push_back(at->path().lexically_normal().string());
  }
  std::sort(dirs.begin(), dirs.end(), std::greater<>());
  return dirs;
}

std::string FingerprintOf(const std::string& dir) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    files.push_back(absl::StrCat(at->path().filename().string(), " ",
                                 at->is_regular_file(ignored) ? at->file_size(ignored) : 0, " ",
                                 at->last_write_time(ignored).time_since_epoch().count(), "\n"));
  }
  if (error) return absl::StrCat("error ", error.value());
  std::sort(files.begin(), files.end());
  std::string all;
  for (const std::string& file : files) all += file;
  return all;
}

std::optional<std::string> WhyRolledBack(const std::string& root, const Digest& version) {
  absl::StatusOr<std::string> reason = ReadFile(Note(root, version).string(), kMaxNoteBytes);
  if (!reason.ok()) return std::nullopt;
  return *std::move(reason);
}

absl::Status RememberRolledBack(const std::string& root, const Digest& version,
                                const std::string& reason) {
  const fs::path note = Note(root, version);
  std::error_code error;
  fs::create_directories(note.parent_path(), error);
  if (error) return absl::ErrnoToStatus(error.value(), note.parent_path().string());
  errno = 0;
  std::ofstream file(note);
  file << reason;
  if (file.flush()) return absl::OkStatus();
  return absl::ErrnoToStatus(errno == 0 ? EIO : errno, note.string());
}

void ForgetRolledBack(const std::string& root, const Digest& version) {
  std::error_code ignored;
  fs::remove(Note(root, version), ignored);
}

}  // namespace llava::registry
