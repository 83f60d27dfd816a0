#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <climits>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava {
namespace {

// By how much the buffer grows when a file is longer than its size says: those in /proc say 0.
constexpr std::size_t kMoreBytes = std::size_t{1} << 16;

absl::Status ErrnoError(const std::string& path) {
  if (errno == ENOENT || errno == ENOTDIR) {
    char target[PATH_MAX];
    const ssize_t size = readlink(path.c_str(), target, sizeof(target));
    if (size >= 0) {  // a file that somebody meant, and lost: not to be taken for none
      return absl::FailedPreconditionError(absl::StrCat(
          path, ": is a link to '", absl::string_view(target, static_cast<std::size_t>(size)),
          "', which is not there"));
    }
    return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  }
  if (errno == ENXIO || errno == ENODEV) {  // which absl takes for "not found"
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is a socket or a device, expected a regular file"));
  }
  return absl::ErrnoToStatus(errno, path);
}

absl::Status TooLarge(const std::string& path, std::size_t max_bytes, std::size_t found) {
  return absl::ResourceExhaustedError(
      absl::StrCat(path, ": expected at most ", max_bytes, " bytes, found ", found));
}

}  // namespace

absl::StatusOr<FileDescriptor> OpenRegularFile(const std::string& path) {
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.is_open()) return ErrnoError(path);
  struct stat info{};
  if (fstat(file.get(), &info) != 0) return ErrnoError(path);
  if (S_ISREG(info.st_mode)) return file;
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": is ", S_ISDIR(info.st_mode) ? "a folder" : "a device", ", expected a regular file"));
}

bool IsThere(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) == 0 || (errno != ENOENT && errno != ENOTDIR)) return true;
  return lstat(path.c_str(), &info) == 0;  // a link that leads nowhere
}

absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t max_bytes) {
  ASSIGN_OR_RETURN(const FileDescriptor file, OpenRegularFile(path));
  struct stat info{};
  if (fstat(file.get(), &info) != 0) return ErrnoError(path);
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size > max_bytes) return TooLarge(path, max_bytes, size);
  std::string bytes(size + 1, '\0');  // one more than there should be shows the end
  std::size_t have = 0;
  while (true) {
    const ssize_t got = read(file.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(path);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
    if (have > max_bytes) return TooLarge(path, max_bytes, have);
    if (have == bytes.size()) bytes.resize(have + kMoreBytes);
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace llava
