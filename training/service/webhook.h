// Tells an URL what became of jobs, from a thread of its own: who posts never waits.
#ifndef LLAVA_TRAINING_SERVICE_WEBHOOK_H_
#define LLAVA_TRAINING_SERVICE_WEBHOOK_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/http/blocking_post.h"
#include "base/http/http_exchange.h"
#include "base/mutex.h"

namespace llava::training {

struct WebhookOptions {
  std::string url = {};         // http: only to this machine or its own network
  std::string token_file = {};  // sent as `Authorization: Bearer TOKEN`; read for each attempt
  int attempts = 24;            // then the message is given up
  Duration first_wait = std::chrono::seconds(2);  // then twice as long each time ...
  Duration longest_wait = std::chrono::minutes(10);
  Duration timeout = std::chrono::seconds(20);  // of an attempt
};

struct WebhookMessage {
  std::int64_t job = 0;
  std::string body;  // JSON
};

// Delivers one message at a time, in order. Post is thread-safe.
class Webhook {
 public:
  // On the thread, for each message: OK, or why it was given up.
  using OnEnd = std::function<void(const WebhookMessage& message, const absl::Status& status)>;

  // INVALID_ARGUMENT: what is wrong with the URL. The errors of a token that cannot be read. The
  // clock outlives it.
  static absl::StatusOr<std::unique_ptr<Webhook>> Start(WebhookOptions options, const Clock& clock,
                                                        OnEnd on_end);
  // Leaves what is not delivered: on_end does not hear of it.
  ~Webhook();

  void Post(WebhookMessage message);

 private:
  Webhook(WebhookOptions options, HttpTarget target, const Clock& clock, OnEnd on_end);
  void Loop();
  bool WaitFor(Duration wait);
  absl::Status Deliver(const WebhookMessage& message);
  absl::Status Attempt(const WebhookMessage& message);

  const WebhookOptions options_;
  const HttpTarget target_;
  const Clock& clock_;
  const OnEnd on_end_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<WebhookMessage> messages_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  BlockingPost post_;
  std::jthread thread_;  // "webhook"
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_WEBHOOK_H_
