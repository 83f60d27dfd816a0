#include "client/jobs_table.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace llava::client {
namespace {

using Row = std::vector<std::string>;

constexpr std::size_t kMessageChars = 80;

absl::Time TimeOf(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

std::string Duration(const v1::Job& job, absl::Time now) {
  if (!job.has_start_time()) return "-";
  const absl::Time end = job.has_end_time() ? TimeOf(job.end_time()) : now;
  const absl::Duration ran = std::max(end - TimeOf(job.start_time()), absl::ZeroDuration());
  return absl::FormatDuration(absl::Trunc(ran, absl::Seconds(1)));
}

// A number of the job's newest line of progress; "-" where it has none.
std::string Progress(const v1::Job& job, std::string_view key, int digits) {
  boost::system::error_code error;
  const boost::json::value progress = boost::json::parse(job.progress(), error);
  const boost::json::object* fields = error ? nullptr : progress.if_object();
  const boost::json::value* value = fields == nullptr ? nullptr : fields->if_contains(key);
  if (value == nullptr || !value->is_number()) return "-";
  return absl::StrFormat("%.*f", digits, value->to_number<double>());
}

// The beginning of its first line; a character of several bytes is not cut in two.
std::string Short(std::string_view message) {
  message = message.substr(0, message.find('\n'));
  if (message.size() <= kMessageChars) return std::string(message);
  std::size_t end = kMessageChars;
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;
  return absl::StrCat(std::string(message.substr(0, end)), "...");
}

// Its message, and before it how many shards the job did without: `llava jobs get` names them.
std::string Message(const v1::Job& job) {
  const std::string message = Short(job.message());
  if (job.set_aside_size() == 0) return message;
  return absl::StrCat(job.set_aside_size(), " set aside", message.empty() ? "" : "; ", message);
}

Row RowOf(const v1::Job& job, absl::Time now) {
  return {job.id(),
          StateName(job.state()),
          job.creator().empty() ? "-" : job.creator(),
          absl::FormatTime("%Y-%m-%d %H:%M", TimeOf(job.create_time()), absl::UTCTimeZone()),
          Duration(job, now),
          Progress(job, "total_step", 0),
          Progress(job, "loss", 4),
          Message(job)};
}

}  // namespace

std::string StateName(v1::JobState state) {
  const std::string name = v1::JobState_Name(state);
  return name.substr(name.find("STATE_") + 6);
}

std::string JobsTable(const std::vector<v1::Job>& jobs, std::int64_t now_ms) {
  if (jobs.empty()) return "";
  std::vector<Row> rows = {
      {"JOB", "STATE", "CREATOR", "CREATED (UTC)", "RAN", "STEP", "LOSS", "MESSAGE"}};
  for (const v1::Job& job : jobs) rows.push_back(RowOf(job, absl::FromUnixMillis(now_ms)));
  std::string table;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column) {
      std::size_t width = 0;
      for (const Row& other : rows) width = std::max(width, other[column].size());
      absl::StrAppend(&line, row[column], std::string(width - row[column].size() + 2, ' '));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&table, line, "\n");
  }
  return table;
}

}  // namespace llava::client
