#include "capture/open_shard.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "capture/shard.h"

namespace llava::capture {
namespace {

namespace fs = std::filesystem;

// What the names, digests and numbers beside the texts of a row take in its line, at most.
constexpr std::int64_t kRowOverhead = 4096;

absl::Status MakeFolder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  return error ? absl::ErrnoToStatus(error.value(), absl::StrCat("cannot make ", path))
               : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<OpenShard>> OpenShard::Create(const std::string& dir,
                                                             const std::string& name) {
  std::string folder = absl::StrCat(ShardFolder(dir, name), kOpenEnding);
  RETURN_IF_ERROR(MakeFolder(PicturesFolder(folder)));
  const std::string path = RowsFile(folder);
  ASSIGN_OR_RETURN(LineAppender rows, LineAppender::OpenAt(path, 0));
  RETURN_IF_ERROR(SyncFolder(folder));
  RETURN_IF_ERROR(SyncFolder(ShardsFolder(dir)));
  return std::unique_ptr<OpenShard>(new OpenShard(dir, name, std::move(folder), std::move(rows)));
}

absl::Status OpenShard::Recover(const std::string& dir, const std::string& name) {
  const std::string folder = absl::StrCat(ShardFolder(dir, name), kOpenEnding);
  const std::string path = RowsFile(folder);
  if (IsThere(path)) {
    RowsSum sum;
    const auto take = [&sum](absl::string_view line) {
      sum.Take(line);
      return true;
    };
    ASSIGN_OR_RETURN(const LineAppender rows, LineAppender::Open(path, take));
    // Killed between its record and its name it has a record, which what is left must fit.
    const bool has_record = IsThere(ClosingFile(folder));
    if (rows.size() > 0 && !has_record) {
      WriteClosing({sum.Finish()}, folder).status().IgnoreError();  // as in Close
    }
    if (rows.size() > 0 || has_record) return RenameFile(folder, ShardFolder(dir, name));
  }
  std::error_code error;
  fs::remove_all(folder, error);
  return error ? absl::ErrnoToStatus(error.value(), folder) : absl::OkStatus();
}

std::int64_t WeightOf(const Row& row) {
  std::size_t bytes = row.system.size();
  for (const std::string& said : row.said) bytes += said.size();
  for (const std::string& picture : row.pictures) bytes += picture.size();
  return static_cast<std::int64_t>(bytes) + kRowOverhead;
}

absl::Status OpenShard::Append(const Row& row, const std::vector<Digest>& pictures) {
  const std::string line = RowLine(row, rows_, pictures);
  if (line.size() > kMaxRowBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a row of ", line.size(), " bytes, expected at most ", kMaxRowBytes));
  }
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const std::string name = PictureName(pictures[i], row.pictures[i]);
    if (pictures_.contains(name)) continue;
    RETURN_IF_ERROR(WriteFile(absl::StrCat(PicturesFolder(folder_), "/", name), row.pictures[i]));
    pictures_.insert(name);
    bytes_ += static_cast<std::int64_t>(row.pictures[i].size());
  }
  const std::int64_t before = file_.size();
  RETURN_IF_ERROR(file_.AppendDurably(line));
  bytes_ += file_.size() - before;
  sum_.Take(line);
  ++rows_;
  return absl::OkStatus();
}

absl::Status OpenShard::Close() {
  if (rows_ > 0) {
    // A full disk takes no record: the rows are read without one, as those of earlier versions.
    const absl::StatusOr<std::int64_t> bytes = WriteClosing({sum_.Finish()}, folder_);
    if (bytes.ok()) bytes_ += *bytes;
    return RenameFile(folder_, ShardFolder(dir_, name_));
  }
  std::error_code error;
  fs::remove_all(folder_, error);
  return error ? absl::ErrnoToStatus(error.value(), folder_) : absl::OkStatus();
}

}  // namespace llava::capture
