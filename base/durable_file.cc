#include "base/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace llava {
namespace {

constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;  // write() takes a little under 2 GiB

absl::Status ErrnoError(const char* doing, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", doing, " ", path));
}

}  // namespace

absl::StatusOr<OutputFile> OutputFile::Create(const std::string& path) {
  FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file.is_open()) return ErrnoError("create", path);
  return OutputFile(path, std::move(file));
}

absl::Status OutputFile::Write(std::string_view bytes) {
  LLAVA_CHECK(file_.is_open());
  while (!bytes.empty()) {
    const ssize_t written = write(file_.get(), bytes.data(), std::min(bytes.size(), kMostAtOnce));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError("write", path_);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status OutputFile::Close() {
  LLAVA_CHECK(file_.is_open());
  if (fsync(file_.get()) != 0) return ErrnoError("sync", path_);
  if (close(file_.Release()) != 0) return ErrnoError("close", path_);
  return SyncName(path_);
}

absl::Status WriteFile(const std::string& path, std::string_view bytes) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  RETURN_IF_ERROR(file.Write(bytes));
  return file.Close();
}

absl::Status RenameFile(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) return ErrnoError("rename to", to);
  return SyncName(to);
}

absl::Status SyncFolder(const std::string& folder) {
  const FileDescriptor file(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file.is_open() || fsync(file.get()) != 0) return ErrnoError("sync", folder);
  return absl::OkStatus();
}

absl::Status SyncName(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return SyncFolder(folder.empty() ? "." : folder);
}

}  // namespace llava
