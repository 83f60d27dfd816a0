// The log: one JSON object a line, with the time, the level and what happened.
//
//   log.Info("request ended", {{"request_id", id}, {"status", "OK"}, {"seconds", 0.25}});
//
// Text of prompts and answers goes through Content(), which drops it unless the operator wants it.
// What is not UTF-8 in a text, such as a client's name for itself, becomes U+FFFD: a line is JSON.
#ifndef LLAVA_SERVER_OBSERVE_LOG_H_
#define LLAVA_SERVER_OBSERVE_LOG_H_

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "base/clock.h"

namespace spdlog {
class logger;
namespace sinks {
class sink;
}
}  // namespace spdlog

namespace llava::observe {

// Thread-safe. Owned by the app; whoever logs is handed a pointer.
class Log {
 public:
  struct Options {
    std::string level = "info";  // debug, info, warning, error
    bool content = false;
  };

  // `clock` outlives the log.
  Log(const Options& options, const Clock* clock, std::shared_ptr<spdlog::sinks::sink> sink);
  ~Log();

  // To standard error.
  static std::unique_ptr<Log> ToStderr(const Options& options, const Clock* clock);

  // Nobody reads it: for tests and tools.
  static std::unique_ptr<Log> ToNowhere(const Clock* clock);

  // As Options::level, from the next line on.
  void SetLevel(const std::string& level) const;

  void Debug(absl::string_view event, boost::json::object fields = {}) const;
  void Info(absl::string_view event, boost::json::object fields = {}) const;
  void Warning(absl::string_view event, boost::json::object fields = {}) const;
  void Error(absl::string_view event, boost::json::object fields = {}) const;

  // What may be logged of a text: all of it with log_content, else its length in bytes.
  boost::json::value Content(absl::string_view text) const;

 private:
  void Write(int level, absl::string_view event, boost::json::object fields) const;

  const bool content_;
  const Clock* const clock_;
  const std::unique_ptr<spdlog::logger> logger_;
};

}  // namespace llava::observe

#endif  // LLAVA_SERVER_OBSERVE_LOG_H_
