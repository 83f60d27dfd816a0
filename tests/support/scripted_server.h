// An HTTP server that says what a test tells it to: the n-th connection gets the n-th of its
// answers, byte for byte, and the last one again and again.
#ifndef LLAVA_TESTS_SUPPORT_SCRIPTED_SERVER_H_
#define LLAVA_TESTS_SUPPORT_SCRIPTED_SERVER_H_

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace llava::test {

// An answer with this status and JSON body; `headers` are lines with their ends.
inline std::string HttpText(int status, const std::string& body, const std::string& headers = "") {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: application/json\r\n" +
         headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

// A completion as OpenAI's API sends it.
inline std::string Completion(const std::string& text, const std::string& model = "judge") {
  return HttpText(200, R"({"model":")" + model +
                           R"(","choices":[{"finish_reason":"stop","message":)" +
                           R"({"content":")" + text +
                           R"("}}],"usage":{"prompt_tokens":7,"completion_tokens":3}})");
}

// Answers one connection after the other, in a thread of its own. Thread-safe.
class ScriptedServer {
 public:
  // What to send for the n-th request (from 0) with this body.
  using Answer = std::function<std::string(std::size_t n, const std::string& body)>;

  explicit ScriptedServer(Answer answer)
      : answer_(std::move(answer)),
        acceptor_(context_, {boost::asio::ip::address_v4::loopback(), 0}),
        thread_([this] { Serve(); }) {}

  explicit ScriptedServer(std::vector<std::string> answers)
      : ScriptedServer([answers](std::size_t n, const std::string&) {
          return answers[std::min(n, answers.size() - 1)];
        }) {}

  ~ScriptedServer() {
    {
      MutexLock lock(&mutex_);
      stopped_ = true;
    }
    boost::asio::io_context context;
    boost::asio::ip::tcp::socket last(context);
    boost::system::error_code ignored;
    last.connect(acceptor_.local_endpoint(), ignored);  // so that accept returns
  }

  std::string url() const {
    return "http://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()) + "/v1";
  }

  std::vector<std::string> bodies() const {
    MutexLock lock(&mutex_);
    return bodies_;
  }

  // The Authorization header of the last request.
  std::string authorization() const {
    MutexLock lock(&mutex_);
    return authorization_;
  }

 private:
  void Serve() {
    while (true) {
      boost::asio::ip::tcp::socket socket = acceptor_.accept();
      boost::beast::flat_buffer buffer;
      boost::beast::http::request<boost::beast::http::string_body> request;
      boost::system::error_code error;
      boost::beast::http::read(socket, buffer, request, error);
      std::size_t number = 0;
      {
        MutexLock lock(&mutex_);
        if (stopped_) return;
        if (error) continue;
        number = bodies_.size();
        bodies_.push_back(request.body());
        authorization_ = std::string(request[boost::beast::http::field::authorization]);
      }
      boost::asio::write(socket, boost::asio::buffer(answer_(number, request.body())), error);
    }
  }

  const Answer answer_;
  boost::asio::io_context context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  mutable Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> bodies_ ABSL_GUARDED_BY(mutex_);
  std::string authorization_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;  // ends before what it uses
};

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_SCRIPTED_SERVER_H_
