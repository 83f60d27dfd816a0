// One POST from a thread that may wait for its answer, while another thread may end the wait.
#ifndef LLAVA_BASE_HTTP_BLOCKING_POST_H_
#define LLAVA_BASE_HTTP_BLOCKING_POST_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/http/http_exchange.h"
#include "base/mutex.h"

namespace llava {

// Run is for one thread at a time, Stop for any.
class BlockingPost {
 public:
  // `clock` outlives it.
  explicit BlockingPost(const Clock& clock);

  // CANCELLED: it was stopped. Else the failures of PostOnce (base/http/http_exchange.h).
  absl::StatusOr<HttpAnswer> Run(const HttpTarget& target, const HttpPost& post);

  // What runs ends now, and nothing runs afterwards.
  void Stop();

 private:
  void RunUntilStopped(boost::asio::io_context* context);

  const Clock& clock_;
  boost::asio::ssl::context tls_;
  Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  boost::asio::io_context* running_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace llava

#endif  // LLAVA_BASE_HTTP_BLOCKING_POST_H_
