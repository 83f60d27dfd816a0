#include "training/run/durable_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

absl::Status ErrnoError(const std::string& path, std::string_view doing) {
  return absl::ErrnoToStatus(errno, absl::StrCat(std::string(doing), " ", path));
}

// Closes on every way out.
class File {
 public:
  File(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status SyncFolder(const std::string& folder) {
  const File file(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
  if (file.fd() < 0 || fsync(file.fd()) != 0) return ErrnoError(folder, "syncing folder");
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteDurably(const std::string& path, const std::vector<std::string_view>& parts) {
  const File file(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (file.fd() < 0) return ErrnoError(path, "opening");
  for (std::string_view part : parts) {
    while (!part.empty()) {
      const ssize_t written =
          write(file.fd(), part.data(), std::min(part.size(), std::size_t{1} << 30));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return ErrnoError(path, "writing");
      part.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  if (fsync(file.fd()) != 0) return ErrnoError(path, "syncing");
  return SyncFolder(std::filesystem::path(path).parent_path().string());
}

absl::Status RenameDurably(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) return ErrnoError(to, "renaming to");
  return SyncFolder(std::filesystem::path(to).parent_path().string());
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return ErrnoError(path, "opening");
  std::ostringstream bytes;
  bytes << in.rdbuf();
  if (in.bad()) return ErrnoError(path, "reading");
  return std::move(bytes).str();
}

}  // namespace llava::training
