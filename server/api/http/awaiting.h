// Waiting, inside a coroutine, for what other threads do.
#ifndef LLAVA_SERVER_API_HTTP_AWAITING_H_
#define LLAVA_SERVER_API_HTTP_AWAITING_H_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace llava::api {

// Calls start(done); the coroutine goes on, in `executor`, when done() was called from anywhere.
inline boost::asio::awaitable<void> WaitFor(boost::asio::any_io_executor executor,
                                            std::function<void(std::function<void()> done)> start) {
  auto initiate = [executor, &start](auto handler) {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    start([executor, shared] { boost::asio::post(executor, [shared] { std::move (*shared)(); }); });
  };
  co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void()>(
      std::move(initiate), boost::asio::use_awaitable);
}

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_AWAITING_H_
