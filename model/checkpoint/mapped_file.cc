#include "model/checkpoint/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace llava::model {

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(FileDescriptor file, OpenRegularFile(path));
  struct stat info{};
  if (fstat(file.get(), &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot read the size of ", path));
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  void* data = nullptr;
  if (size > 0) {
    data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.get(), 0);
    if (data == MAP_FAILED) return absl::ErrnoToStatus(errno, absl::StrCat("cannot map ", path));
  }
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, file.Release(), static_cast<char*>(data), size));
}

absl::Status MappedFile::Read(std::string_view part, void* to) const {
  auto* at = static_cast<char*>(to);
  auto offset = static_cast<off_t>(part.data() - data_);
  std::size_t left = part.size();
  while (left > 0) {
    const ssize_t got = pread(descriptor_, at, left, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path_));
    if (got == 0) {
      return absl::DataLossError(absl::StrCat(path_,
                                              " was cut while it was read: it ends before byte ",
                                              offset, ", expected ", size_, " bytes"));
    }
    at += got;
    offset += got;
    left -= static_cast<std::size_t>(got);
  }
  return absl::OkStatus();
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, size_);
  close(descriptor_);
}

}  // namespace llava::model
