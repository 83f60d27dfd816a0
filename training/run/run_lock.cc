#include "training/run/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace llava::training {
namespace {

// "4711 on host", which the holder wrote: only its own host knows a process by the number.
std::string Holder(int file) {
  std::array<char, 512> text{};
  const ssize_t size = ::pread(file, text.data(), text.size(), 0);
  const std::string holder(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  return holder.empty() ? "another process" : absl::StrCat("process ", holder);
}

std::string Self() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return absl::StrCat(::getpid(), " on ", host.data());
}

}  // namespace

absl::StatusOr<RunLock> RunLock::Take(const std::string& folder) {
  const std::string path = folder + "/.lock";
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file.is_open()) return absl::ErrnoToStatus(errno, path);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return absl::ErrnoToStatus(errno, path);
    return absl::UnavailableError(absl::StrCat(folder, ": ", Holder(file.get()),
                                               " is running there; wait for it, or give "
                                               "this run another output"));
  }
  const std::string self = Self();
  if (::ftruncate(file.get(), 0) != 0 ||
      ::pwrite(file.get(), self.data(), self.size(), 0) != static_cast<ssize_t>(self.size())) {
    return absl::ErrnoToStatus(errno, path);
  }
  return RunLock(std::move(file));
}

}  // namespace llava::training
