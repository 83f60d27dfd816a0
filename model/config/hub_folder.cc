#include "model/config/hub_folder.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::model {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxRefBytes = 256;
constexpr std::size_t kMaxNamed = 10;  // snapshots that an error lists

bool IsFolder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool IsRepository(const fs::path& folder) {
  return folder.filename().string().starts_with("models--") && IsFolder(folder / "snapshots");
}

// The names of the snapshots, sorted, at most one more than are named.
std::vector<std::string> NamesIn(const fs::path& snapshots) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(snapshots, error);
       !error && at != fs::directory_iterator() && names.size() <= kMaxNamed; at.increment(error)) {
    if (IsFolder(at->path())) names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status Unclear(const fs::path& dir, absl::string_view why,
                     const std::vector<std::string>& names) {
  return absl::FailedPreconditionError(Utf8Repair(
      absl::StrCat(dir.string(), ": is a repository of the hub's cache ", why,
                   names.empty() ? std::string(", and has no snapshot: fetch one")
                                 : absl::StrCat(", expected the folder of one of its snapshots: ",
                                                absl::StrJoin(names, ", ")))));
}

}  // namespace

absl::StatusOr<std::string> SnapshotOf(const std::string& dir) {
  fs::path folder(dir);
  if (!folder.has_filename()) folder = folder.parent_path();
  if (!IsRepository(folder)) {  // as it is written: a link, `.` and the like may name one, too
    std::error_code error;
    folder = fs::canonical(folder, error);
    if (error || !IsRepository(folder)) return dir;
  }
  const fs::path snapshots = folder / "snapshots";
  const std::vector<std::string> names = NamesIn(snapshots);
  const std::string main = (folder / "refs" / "main").string();
  if (!IsThere(main)) {
    if (names.size() == 1) return (snapshots / names[0]).string();
    return Unclear(folder, "without refs/main", names);
  }
  ASSIGN_OR_RETURN(std::string commit, ReadFile(main, kMaxRefBytes));
  absl::StripAsciiWhitespace(&commit);
  const bool is_name = !commit.empty() && commit.find('/') == commit.npos && commit[0] != '.';
  if (is_name && IsFolder(snapshots / commit)) return (snapshots / commit).string();
  return Unclear(folder, absl::StrCat("whose refs/main is '", commit, "', which is not there"),
                 names);
}

std::string TakeSnapshot(std::string& dir) {
  const absl::StatusOr<std::string> snapshot = SnapshotOf(dir);
  if (!snapshot.ok()) return std::string(snapshot.status().message());
  dir = *snapshot;
  return "";
}

}  // namespace llava::model
