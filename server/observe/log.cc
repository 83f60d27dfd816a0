#include "server/observe/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <array>
#include <boost/json/serialize.hpp>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/utf8_stream.h"

namespace llava::observe {
namespace {

// 2026-01-31T23:59:59.123Z
std::string FormatTime(std::int64_t unix_millis) {
  const std::time_t seconds = static_cast<std::time_t>(unix_millis / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900, utc.tm_mon + 1,
                         utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, unix_millis % 1000);
}

const char* LevelName(int level) {
  constexpr std::array<const char*, 6> kNames = {"trace",   "debug", "info",
                                                 "warning", "error", "critical"};
  return kNames[static_cast<std::size_t>(level)];
}

// The same with UTF-8 in every text, those of objects and lists inside too.
boost::json::value Repaired(boost::json::value value) {
  if (auto* text = value.if_string()) {
    if (!IsValidUtf8({text->data(), text->size()})) {
      *text = Utf8Repair({text->data(), text->size()});
    }
  } else if (auto* list = value.if_array()) {
    for (boost::json::value& item : *list) item = Repaired(std::move(item));
  } else if (auto* object = value.if_object()) {
    for (auto& entry : *object) entry.value() = Repaired(std::move(entry.value()));
  }
  return value;
}

}  // namespace

Log::Log(const Options& options, const Clock* clock, std::shared_ptr<spdlog::sinks::sink> sink)
    : content_(options.content),
      clock_(clock),
      logger_(std::make_unique<spdlog::logger>("llavad", std::move(sink))) {
  logger_->set_pattern("%v");
  SetLevel(options.level);
  logger_->flush_on(spdlog::level::trace);
}

Log::~Log() = default;

std::unique_ptr<Log> Log::ToStderr(const Options& options, const Clock* clock) {
  return std::make_unique<Log>(options, clock, std::make_shared<spdlog::sinks::stderr_sink_mt>());
}

std::unique_ptr<Log> Log::ToNowhere(const Clock* clock) {
  return std::make_unique<Log>(Options{}, clock, std::make_shared<spdlog::sinks::null_sink_mt>());
}

void Log::SetLevel(const std::string& level) const {
  logger_->set_level(spdlog::level::from_str(level));
}

void Log::Debug(absl::string_view event, boost::json::object fields) const {
  Write(SPDLOG_LEVEL_DEBUG, event, std::move(fields));
}
void Log::Info(absl::string_view event, boost::json::object fields) const {
  Write(SPDLOG_LEVEL_INFO, event, std::move(fields));
}
void Log::Warning(absl::string_view event, boost::json::object fields) const {
  Write(SPDLOG_LEVEL_WARN, event, std::move(fields));
}
void Log::Error(absl::string_view event, boost::json::object fields) const {
  Write(SPDLOG_LEVEL_ERROR, event, std::move(fields));
}

boost::json::value Log::Content(absl::string_view text) const {
  if (!content_) return boost::json::value(absl::StrCat(text.size(), " bytes"));
  return boost::json::value(Utf8Repair({text.data(), text.size()}));
}

void Log::Write(int level, absl::string_view event, boost::json::object fields) const {
  const auto spdlog_level = static_cast<spdlog::level::level_enum>(level);
  if (!logger_->should_log(spdlog_level)) return;
  boost::json::object line;
  line["time"] = FormatTime(clock_->UnixMillis());
  line["level"] = LevelName(level);
  line["event"] = std::string(event);
  for (auto& [key, value] : fields) line[key] = Repaired(std::move(value));
  logger_->log(spdlog_level, boost::json::serialize(line));
}

}  // namespace llava::observe
