// Owns an open file of the operating system.
#ifndef LLAVA_BASE_FILE_DESCRIPTOR_H_
#define LLAVA_BASE_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace llava {

// Closed at the end of its scope; -1 stands for none. Not thread-safe.
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

}  // namespace llava

#endif  // LLAVA_BASE_FILE_DESCRIPTOR_H_
