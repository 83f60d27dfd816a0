// The daemon: what there is, in which order it starts, and how it stops.
//
// Thread roster. main: starts, waits for signals, stops. One engine thread a device. io x
// http_threads: answers to sockets, HTTP; Asio adds one that looks up the hosts of image URLs.
// prepare x prepare_threads: images and tokenization.
// registry: takes versions in and lets them go, with a loader thread for what is slow, which gives
// way to all others while something is served. adapters: reads adapters. watcher, with `watch`:
// looks at the folder. batches, with `batch_dir`: works through batches of requests. capture, with
// `capture_dir`: writes turns and verdicts. accept: gRPC's connections. probe: dials our own ports.
// gRPC's own callback threads, and those of its ModelService and FeedbackService. Nothing else
// starts a thread.
#ifndef LLAVA_SERVER_APP_APP_H_
#define LLAVA_SERVER_APP_APP_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/config/config.h"
#include "server/hosting/backend.h"

namespace llava::server {

// Main thread only.
class App {
 public:
  struct Ports {
    int grpc = 0;
    int http = 0;     // 0: none
    int metrics = 0;  // 0: none
  };

  // Reads and checks all that is named in the configuration, without starting anything: TLS files,
  // tokens, addresses, the checkpoint's configuration and tokenizer, adapters (but not their
  // values).
  static absl::Status Check(const Config& config);

  // Listens, not ready yet. `backend` and `clock` outlive the app. `on_ready` is called once, in
  // some thread, when the first version is live.
  static absl::StatusOr<std::unique_ptr<App>> Start(const Config& config, Backend* backend,
                                                    const Clock* clock,
                                                    std::function<void()> on_ready = nullptr);
  ~App();

  Ports ports() const;

  // Starts to take versions in: the configured checkpoint, and what the watched folder has. The
  // daemon is ready when the first version is live, whenever that is.
  absl::Status Serve();

  // After Serve. With a checkpoint and no watched folder, waits until it answers, and returns why
  // it does not. Starts no thread.
  absl::Status AwaitFirst();

  // Whether an engine that has work has made no step for long; /readyz says so, too. A watchdog may
  // have the daemon restarted then.
  bool HasStalled() const;

  // SIGHUP: see hang_up.h. `now` is the configuration as it would be read at this moment.
  void OnHangUp(const absl::StatusOr<Config>& now);

  // Not ready, refuses new requests, lets accepted ones finish until drain_timeout, cuts the others
  // off and stops everything. True when every accepted request was answered; on a machine so busy
  // that this thread ran only after drain_timeout that may have taken longer. The log says how long
  // the drain and the rest took. Again is allowed, and says the same.
  bool Stop();

 private:
  struct Parts;
  explicit App(std::unique_ptr<Parts> parts);
  const std::unique_ptr<Parts> parts_;
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_APP_H_
