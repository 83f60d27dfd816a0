#include "server/app/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "absl/strings/numbers.h"

namespace llava::server {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Of WATCHDOG_USEC, unless WATCHDOG_PID says that another process is meant.
std::optional<Duration> HalfOfWatchdog() {
  const std::string pid = Variable("WATCHDOG_PID");
  std::int64_t microseconds = 0;
  if (!pid.empty() && pid != std::to_string(getpid())) return std::nullopt;
  if (!absl::SimpleAtoi(Variable("WATCHDOG_USEC"), &microseconds) || microseconds < 2) {
    return std::nullopt;
  }
  return std::chrono::microseconds(microseconds / 2);
}

}  // namespace

ServiceManager::ServiceManager() : address_(Variable("NOTIFY_SOCKET")) {
  const bool known = address_.starts_with('/') || address_.starts_with('@');
  if (!known || address_.size() >= sizeof(sockaddr_un::sun_path)) return;
  if (address_.front() == '@') address_.front() = '\0';
  socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  progress_interval_ = HalfOfWatchdog();
}

ServiceManager::~ServiceManager() {
  if (socket_ >= 0) close(socket_);
}

// A manager that is not there any more is no reason to stop serving.
void ServiceManager::Send(absl::string_view state) const {
  if (socket_ < 0) return;
  sockaddr_un to = {};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, address_.data(), address_.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  sendto(socket_, state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
         reinterpret_cast<const sockaddr*>(&to), size);
}

}  // namespace llava::server
