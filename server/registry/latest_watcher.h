// Watches a folder of published versions and tells when its `latest` link names another one: at
// once by inotify, and by looking every now and then, because network file systems do not notify.
#ifndef LLAVA_SERVER_REGISTRY_LATEST_WATCHER_H_
#define LLAVA_SERVER_REGISTRY_LATEST_WATCHER_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "base/clock.h"

namespace llava::registry {

// Owns its thread. The callback runs on it, first for what `latest` names at the start (if
// anything), then for every other target that it is seen to have, and when the files of the target
// were `replaced`: they are others than before, and were the same at two looks.
class LatestWatcher {
 public:
  using OnLatest = std::function<void(const std::string& dir, bool replaced)>;

  // `poll`: how often to look without a notification. The folder need not exist yet. UNAVAILABLE
  // when the process has no more file descriptors.
  static absl::StatusOr<std::unique_ptr<LatestWatcher>> Start(const std::string& root,
                                                              Duration poll, OnLatest on_latest);

  ~LatestWatcher();  // stops and joins

  // False when the system gave no inotify instance (a user has few of them): it only looks then.
  bool notified() const { return inotify_ >= 0; }

 private:
  LatestWatcher(std::string root, Duration poll, OnLatest on_latest, int inotify, int stop);
  void Run();
  void CheckLatest();

  const std::string root_;
  const Duration poll_;
  const OnLatest on_latest_;
  const int inotify_;                 // file descriptor, or -1
  const int stop_;                    // file descriptor: readable when it is time to go
  std::string reported_dir_;          // what the callback was last called with
  std::string reported_fingerprint_;  // of its files then
  std::string last_fingerprint_;      // of its files at the last look
  std::jthread thread_;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_LATEST_WATCHER_H_
