#include "server/registry/latest_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/registry/published.h"

namespace llava::registry {
namespace {

constexpr std::uint32_t kEvents =
    IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

// Reads and forgets whatever is there; the descriptor does not block.
void DiscardEvents(int fd) {
  std::array<char, 4096> buffer;
  while (read(fd, buffer.data(), buffer.size()) > 0) continue;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LatestWatcher>> LatestWatcher::Start(const std::string& root,
                                                                    Duration poll,
                                                                    OnLatest on_latest) {
  const int stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (stop < 0) {
    return absl::UnavailableError(absl::StrCat("watching ", root, ": ", std::strerror(errno)));
  }
  const int inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  return std::unique_ptr<LatestWatcher>(
      new LatestWatcher(root, poll, std::move(on_latest), inotify, stop));
}

LatestWatcher::LatestWatcher(std::string root, Duration poll, OnLatest on_latest, int inotify,
                             int stop)
    : root_(std::move(root)),
      poll_(poll),
      on_latest_(std::move(on_latest)),
      inotify_(inotify),
      stop_(stop),
      thread_([this] { Run(); }) {}

LatestWatcher::~LatestWatcher() {
  const std::uint64_t one = 1;
  LLAVA_CHECK_EQ(write(stop_, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  thread_.join();
  if (notified()) close(inotify_);
  close(stop_);
}

void LatestWatcher::Run() {
  const auto milliseconds =
      std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::milliseconds>(poll_).count());
  for (;;) {
    // The folder may come, go and come again: watching it twice is the same as once. Without an
    // instance, and on file systems that do not notify, all this does nothing.
    inotify_add_watch(inotify_, root_.c_str(), kEvents);
    try {
      CheckLatest();
    } catch (const std::exception&) {
      // Out of memory, most likely: what this look missed, the next one sees.
    }
    pollfd fds[] = {{stop_, POLLIN, 0}, {inotify_, POLLIN, 0}};
    poll(fds, 2, static_cast<int>(std::min<std::int64_t>(milliseconds, 1 << 30)));
    if (fds[0].revents != 0) return;
    DiscardEvents(inotify_);
  }
}

void LatestWatcher::CheckLatest() {
  const std::optional<std::string> dir = ReadLatestLink(root_);
  if (!dir) return;  // none yet
  const std::string now = FolderFingerprint(*dir);
  if (*dir != reported_dir_) {
    on_latest_(*dir, false);
    reported_dir_ = *dir;
    reported_fingerprint_ = last_fingerprint_ = now;
    return;
  }
  const bool stands_still = now == std::exchange(last_fingerprint_, now);
  if (!stands_still || now == reported_fingerprint_) return;
  on_latest_(reported_dir_, true);
  reported_fingerprint_ = now;
}

}  // namespace llava::registry
