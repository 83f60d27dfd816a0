// Tells systemd how the daemon does, as a unit of Type=notify wants it: sd_notify(3). The protocol
// is one datagram of text, which systemd keeps stable for programs that do not link libsystemd.
#ifndef LLAVA_SERVER_APP_SERVICE_MANAGER_H_
#define LLAVA_SERVER_APP_SERVICE_MANAGER_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "base/clock.h"

namespace llava::server {

// Without the variable NOTIFY_SOCKET nobody listens, and nothing is sent. Not thread-safe.
class ServiceManager {
 public:
  ServiceManager();  // reads the environment
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  // How often Progresses is wanted: half of WatchdogSec. Nothing: no watchdog is set for this
  // process.
  std::optional<Duration> progress_interval() const { return progress_interval_; }

  void Ready() const { Send("READY=1"); }
  void Stopping() const { Send("STOPPING=1"); }
  void Progresses() const { Send("WATCHDOG=1"); }

 private:
  void Send(absl::string_view state) const;

  int socket_ = -1;
  std::string address_;  // a path, or a zero byte and a name
  std::optional<Duration> progress_interval_;
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_SERVICE_MANAGER_H_
