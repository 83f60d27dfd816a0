// Reads regular files. Paths come from people and from folders that others write to, so whatever
// else stands there (a folder, a pipe, a device, a link in a circle) is an error and never waited
// for. Any thread.
#ifndef LLAVA_BASE_FILE_H_
#define LLAVA_BASE_FILE_H_

#include <unistd.h>

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace llava {

// Owns an open file of the operating system. Closed at the end of its scope; -1 stands for none.
// Not thread-safe.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }

  bool is_open() const { return fd_ >= 0; }
  int get() const { return fd_; }
  // The caller closes it.
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// Opened once, for reading. NOT_FOUND when there is no such file, FAILED_PRECONDITION when there is
// a link whose target, which it names, is not there, INVALID_ARGUMENT when it is not a
// regular one, else errno's code; the message begins with the path.
absl::StatusOr<FileDescriptor> OpenRegularFile(const std::string& path);

// Whether something stands at `path`. True also where that cannot be told or is no regular file (a
// link that leads nowhere or in a circle, a folder that may not be read): who opens it then says
// why.
bool IsThere(const std::string& path);

// All its bytes. The errors of OpenRegularFile, and RESOURCE_EXHAUSTED above `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t max_bytes);

}  // namespace llava

#endif  // LLAVA_BASE_FILE_H_
