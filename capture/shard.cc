#include "capture/shard.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "capture/closing.h"
#include "capture/row.h"
#include "capture/verdicts.h"

namespace llava::capture {
namespace {

namespace fs = std::filesystem;

// Stands in a folder while rows are removed from it.
constexpr char kRemoving[] = "/removing";
constexpr char kDeletedEnding[] = ".deleted";

absl::Status Failed(const std::error_code& error, absl::string_view path) {
  return absl::ErrnoToStatus(error.value(), path);
}

absl::Status DeleteFolder(const std::string& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  return error ? Failed(error, folder) : absl::OkStatus();
}

bool IsName(absl::string_view name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// What verdicts and pictures may stay for, and what the rows are.
struct Left {
  RowsState state;
  std::set<std::int64_t> rows;
  std::set<std::string> pictures;
};

absl::StatusOr<Left> WhatIsLeft(const std::string& folder) {
  Left left;
  RowsSum sum;
  RETURN_IF_ERROR(ReadRows(folder, [&](absl::string_view line) -> absl::Status {
    ASSIGN_OR_RETURN(const RowHead head, ParseRowHead(line));
    sum.Take(line);
    left.rows.insert(head.number);
    left.pictures.insert(head.pictures.begin(), head.pictures.end());
    return absl::OkStatus();
  }));
  left.state = sum.Finish();
  return left;
}

// Of rows that are not what was closed the record stays as it is: what was lost before a removal is
// not forgotten by it.
absl::Status ExpectBoth(const RowsState& before, const RowsState& after,
                        const std::string& folder) {
  const auto closed = ReadClosing(folder);
  const bool is_whole = closed.ok() && !closed->empty() && MayBe(before, *closed);
  return is_whole ? WriteClosing({before, after}, folder).status() : absl::OkStatus();
}

absl::Status ExpectOne(const RowsState& state, const std::string& folder) {
  const auto closed = ReadClosing(folder);
  const bool is_between = closed.ok() && closed->size() > 1 && MayBe(state, *closed);
  return is_between ? WriteClosing({state}, folder).status() : absl::OkStatus();
}

absl::Status DeletePicturesBut(const std::set<std::string>& wanted, const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> unwanted;
  for (const auto& entry : fs::directory_iterator(PicturesFolder(folder), error)) {
    if (!wanted.contains(entry.path().filename().string())) unwanted.push_back(entry.path());
  }
  for (const fs::path& path : unwanted) {
    fs::remove(path, error);
    if (error) return Failed(error, path.string());
  }
  return SyncFolder(PicturesFolder(folder));
}

}  // namespace

std::string ShardsFolder(const std::string& dir) { return dir + "/shards"; }

std::string ShardFolder(const std::string& dir, absl::string_view name) {
  return absl::StrCat(ShardsFolder(dir), "/", name);
}

std::string RowsFile(const std::string& folder) { return folder + "/rows.jsonl"; }

std::string PicturesFolder(const std::string& folder) { return folder + "/pictures"; }

absl::StatusOr<std::vector<std::string>> ListShards(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(ShardsFolder(dir), error)) {
    const std::string name = entry.path().filename().string();
    if (IsName(name)) names.push_back(name);
  }
  if (error == std::errc::no_such_file_or_directory) return names;
  if (error) return Failed(error, ShardsFolder(dir));
  std::sort(names.begin(), names.end());
  return names;
}

std::int64_t OpenedAt(absl::string_view name) {
  std::int64_t millis = 0;
  return IsName(name) && absl::SimpleAtoi(name, &millis) ? millis : 0;
}

absl::Status ReadRows(const std::string& folder,
                      const std::function<absl::Status(absl::string_view line)>& on_line) {
  const std::string path = RowsFile(folder);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxShardRowsBytes + kMaxRowBytes));
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (line.empty()) continue;
    const absl::Status status = on_line(line);
    if (!status.ok()) return Annotate(status, absl::StrCat(path, ":", number));
  }
  return absl::OkStatus();
}

std::int64_t FolderBytes(const std::string& folder) {
  std::int64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code unknown;
    const auto size = at->is_regular_file(unknown) ? at->file_size(unknown) : 0;
    if (!unknown) bytes += static_cast<std::int64_t>(size);
  }
  return bytes;
}

absl::StatusOr<std::int64_t> RemoveRows(
    const std::string& folder, const std::function<bool(absl::string_view line)>& is_unwanted) {
  std::string kept;
  RowsSum before;
  RowsSum after;
  std::int64_t removed = 0;
  RETURN_IF_ERROR(ReadRows(folder, [&](absl::string_view line) {
    before.Take(line);
    if (is_unwanted(line)) {
      ++removed;
    } else {
      absl::StrAppend(&kept, line, "\n");
      after.Take(line);
    }
    return absl::OkStatus();
  }));
  if (removed == 0) return 0;
  RETURN_IF_ERROR(WriteFile(folder + kRemoving, ""));
  RETURN_IF_ERROR(ExpectBoth(before.Finish(), after.Finish(), folder));
  const std::string path = RowsFile(folder);
  RETURN_IF_ERROR(WriteFile(path + ".new", kept));
  RETURN_IF_ERROR(RenameFile(path + ".new", path));
  RETURN_IF_ERROR(FinishRemoval(folder));
  return removed;
}

absl::Status FinishRemoval(const std::string& folder) {
  if (!IsThere(folder + kRemoving)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Left left, WhatIsLeft(folder));
  if (left.rows.empty()) return DeleteFolder(folder);
  RETURN_IF_ERROR(ExpectOne(left.state, folder));
  ASSIGN_OR_RETURN(Verdicts verdicts, ReadVerdicts(folder));
  std::erase_if(verdicts, [&](const auto& entry) { return !left.rows.contains(entry.first); });
  RETURN_IF_ERROR(WriteVerdicts(verdicts, folder));
  RETURN_IF_ERROR(DeletePicturesBut(left.pictures, folder));
  std::error_code error;
  fs::remove(folder + kRemoving, error);
  return error ? Failed(error, folder + kRemoving) : SyncFolder(folder);
}

absl::Status DeleteShard(const std::string& dir, absl::string_view name) {
  const std::string folder = ShardFolder(dir, name);
  RETURN_IF_ERROR(RenameFile(folder, folder + kDeletedEnding));
  return DeleteFolder(folder + kDeletedEnding);
}

}  // namespace llava::capture
