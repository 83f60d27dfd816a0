// The io threads: they carry answers to sockets and serve HTTP. Nothing on them may block.
#ifndef LLAVA_SERVER_CHAT_IO_POOL_H_
#define LLAVA_SERVER_CHAT_IO_POOL_H_

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <thread>
#include <utility>
#include <vector>

namespace llava::api {

// Thread-safe. Owned by the app.
class IoPool {
 public:
  explicit IoPool(int threads) : work_(context_.get_executor()) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this] { context_.run(); });
    }
  }
  ~IoPool() { Stop(); }

  template <typename Function>
  void Post(Function&& function) {
    boost::asio::post(context_, std::forward<Function>(function));
  }

  boost::asio::io_context& context() { return context_; }

  // Runs what is left, then joins. REQUIRES: every socket and timer on it was closed.
  void Stop() {
    work_.reset();
    threads_.clear();
  }

 private:
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::vector<std::jthread> threads_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_IO_POOL_H_
