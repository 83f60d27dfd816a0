#include "capture/open_shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
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

absl::Status Failed(const char* doing, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", doing, " ", path));
}

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
  FileDescriptor file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!file.is_open()) return Failed("create", path);
  RETURN_IF_ERROR(SyncFolder(folder));
  RETURN_IF_ERROR(SyncFolder(ShardsFolder(dir)));
  return std::unique_ptr<OpenShard>(new OpenShard(dir, name, std::move(folder), std::move(file)));
}

absl::Status OpenShard::Recover(const std::string& dir, const std::string& name) {
  const std::string folder = absl::StrCat(ShardFolder(dir, name), kOpenEnding);
  const std::string path = RowsFile(folder);
  const auto text = ReadFile(path, kMaxShardRowsBytes + kMaxRowBytes);
  if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
  const std::size_t end = text.ok() ? text->rfind('\n') : std::string::npos;
  if (end == std::string::npos) {
    std::error_code error;
    fs::remove_all(folder, error);
    return error ? absl::ErrnoToStatus(error.value(), folder) : absl::OkStatus();
  }
  if (truncate(path.c_str(), static_cast<off_t>(end + 1)) != 0) return Failed("cut", path);
  return RenameFile(folder, ShardFolder(dir, name));
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
  RETURN_IF_ERROR(AppendLine(line + "\n"));
  ++rows_;
  return absl::OkStatus();
}

absl::Status OpenShard::AppendLine(const std::string& line) {
  const std::string path = RowsFile(folder_);
  absl::Status status;
  std::size_t done = 0;
  while (status.ok() && done < line.size()) {
    const ssize_t written = write(file_.get(), line.data() + done, line.size() - done);
    if (written < 0 && errno != EINTR) status = Failed("write", path);
    if (written > 0) done += static_cast<std::size_t>(written);
  }
  if (status.ok() && fdatasync(file_.get()) != 0) status = Failed("sync", path);
  if (!status.ok()) {  // half a line would spoil the next one
    if (ftruncate(file_.get(), static_cast<off_t>(row_bytes_)) != 0) return Failed("cut", path);
    return status;
  }
  row_bytes_ += static_cast<std::int64_t>(line.size());
  bytes_ += static_cast<std::int64_t>(line.size());
  return absl::OkStatus();
}

absl::Status OpenShard::Close() {
  file_ = FileDescriptor();
  if (rows_ > 0) return RenameFile(folder_, ShardFolder(dir_, name_));
  std::error_code error;
  fs::remove_all(folder_, error);
  return error ? absl::ErrnoToStatus(error.value(), folder_) : absl::OkStatus();
}

}  // namespace llava::capture
