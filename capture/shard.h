// A shard is a folder that is a data set of LLaVA by itself: rows.jsonl, pictures/ with their files
// by digest, and verdicts.jsonl; closed.json says what its rows
// are. All of them lie in CAPTURE/shards; a name is the time the shard
// was opened, in milliseconds, so that names sort by age. The one that is being written ends in
// ".open": nobody else reads it.
#ifndef LLAVA_CAPTURE_SHARD_H_
#define LLAVA_CAPTURE_SHARD_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::capture {

inline constexpr char kOpenEnding[] = ".open";

// Of rows.jsonl; a shard is closed before.
inline constexpr std::size_t kMaxShardRowsBytes = std::size_t{256} << 20;

std::string ShardsFolder(const std::string& dir);
std::string ShardFolder(const std::string& dir, absl::string_view name);
std::string RowsFile(const std::string& folder);
std::string PicturesFolder(const std::string& folder);

// Names of the closed shards, the oldest first. None where there is no folder.
absl::StatusOr<std::vector<std::string>> ListShards(const std::string& dir);

// When a shard was opened, in milliseconds of Unix time; 0 of what is no name of a shard.
std::int64_t OpenedAt(absl::string_view name);

// Calls `on_line` for each row in `folder`, in order, until it returns an error.
// Errors of ReadFile (base/file.h), and `on_line`'s with file and line.
absl::Status ReadRows(const std::string& folder,
                      const std::function<absl::Status(absl::string_view line)>& on_line);

// What the files of a folder have together, in bytes.
std::int64_t FolderBytes(const std::string& folder);

// Rewrites rows, their record and verdicts without the rows that `is_unwanted`, and deletes
// pictures that no row is left for; the whole folder when none is left. Ended at any moment it
// leaves what FinishRemoval completes. Returns how many rows went.
absl::StatusOr<std::int64_t> RemoveRows(
    const std::string& folder, const std::function<bool(absl::string_view line)>& is_unwanted);

// After a crash: deletes what RemoveRows had still to delete.
absl::Status FinishRemoval(const std::string& folder);

// Deletes the shard, its name first: nobody sees half of it.
absl::Status DeleteShard(const std::string& dir, absl::string_view name);

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_SHARD_H_
