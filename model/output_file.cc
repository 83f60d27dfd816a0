#include "model/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace llava::model {

absl::StatusOr<OutputFile> OutputFile::Create(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path));
  return OutputFile(path, fd);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status OutputFile::Write(std::string_view bytes) {
  LLAVA_CHECK_GE(fd_, 0);
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path_));
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status OutputFile::Close() {
  LLAVA_CHECK_GE(fd_, 0);
  const int fd = std::exchange(fd_, -1);
  const bool synced = fsync(fd) == 0;
  const int sync_error = errno;
  if (close(fd) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot close ", path_));
  if (!synced) return absl::ErrnoToStatus(sync_error, absl::StrCat("cannot sync ", path_));
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, std::string_view bytes) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  RETURN_IF_ERROR(file.Write(bytes));
  return file.Close();
}

}  // namespace llava::model
