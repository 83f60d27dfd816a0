#include "base/http/blocking_post.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <optional>
#include <utility>

#include "base/http/client_tls.h"
#include "base/status_macros.h"

namespace llava {

namespace asio = boost::asio;

BlockingPost::BlockingPost(const Clock& clock) : clock_(clock), tls_(ClientTls()) {}

absl::StatusOr<HttpAnswer> BlockingPost::Run(const HttpTarget& target, const HttpPost& post) {
  std::optional<HttpResult> result;
  asio::io_context context;  // goes first: what is left of the exchange uses the others
  const auto exchange = [&]() -> asio::awaitable<void> {
    HttpResult answered = co_await PostOnce(context.get_executor(), &tls_, &target, &post, &clock_);
    result = std::move(answered);
  };
  asio::co_spawn(context, exchange, asio::detached);
  RunUntilStopped(&context);
  if (!result) return absl::CancelledError("stopped");
  RETURN_IF_ERROR(result->failure.status);
  return std::move(result->answer);
}

void BlockingPost::Stop() {
  MutexLock lock(&mutex_);
  stopped_ = true;
  if (running_ != nullptr) running_->stop();
}

void BlockingPost::RunUntilStopped(asio::io_context* context) {
  {
    MutexLock lock(&mutex_);
    if (stopped_) return;
    running_ = context;
  }
  context->run();
  MutexLock lock(&mutex_);
  running_ = nullptr;
}

}  // namespace llava
