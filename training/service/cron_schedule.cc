#include "training/service/cron_schedule.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

// 29 February may be eight years away.
constexpr int kDaysAhead = 8 * 366 + 2;

struct Field {
  const char* name;
  int low;
  int high;
  std::vector<std::string> names;  // of the values from `low` on; empty: numbers alone
};

const Field& FieldAt(int index) {
  static const std::vector<Field> fields = {
      {"minute", 0, 59, {}},
      {"hour", 0, 23, {}},
      {"day of the month", 1, 31, {}},
      {"month",
       1,
       12,
       {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
      {"weekday", 0, 7, {"sun", "mon", "tue", "wed", "thu", "fri", "sat"}}};
  return fields[static_cast<std::size_t>(index)];
}

std::optional<int> ParseValue(const Field& field, const std::string& text) {
  const auto named = std::find(field.names.begin(), field.names.end(), absl::AsciiStrToLower(text));
  if (named != field.names.end()) return field.low + static_cast<int>(named - field.names.begin());
  const bool digits = !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
  int value = 0;
  if (!digits || !absl::SimpleAtoi(text, &value)) return std::nullopt;
  if (value < field.low || value > field.high) return std::nullopt;
  return value;
}

// Adds the values of one part of a list; false: it is none.
template <std::size_t kSize>
bool AddPart(const Field& field, const std::string& part, std::bitset<kSize>* values) {
  const std::vector<std::string> stepped = absl::StrSplit(part, '/');
  const std::vector<std::string> range = absl::StrSplit(stepped[0], '-');
  int low = field.low;
  int high = field.high;
  if (stepped[0] != "*") {
    const std::optional<int> first = ParseValue(field, range[0]);
    const std::optional<int> last = ParseValue(field, range.back());
    if (!first || !last || range.size() > 2 || *first > *last) return false;
    low = *first;
    high = *last;
    if (range.size() == 1 && stepped.size() == 2) return false;  // "5/10" is read in two ways
  }
  int step = 1;
  if (stepped.size() > 2) return false;
  if (stepped.size() == 2 && (!absl::SimpleAtoi(stepped[1], &step) || step < 1)) return false;
  step = std::min(step, high - low + 1);  // `value` never overflows
  for (int value = low; value <= high; value += step) {
    values->set(static_cast<std::size_t>(value) % values->size());  // Sunday is 0 and 7
  }
  return true;
}

template <std::size_t kSize>
absl::Status ParseField(int index, const std::string& text, std::bitset<kSize>* values) {
  const Field& field = FieldAt(index);
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  for (const std::string& part : parts) {
    if (AddPart(field, part, values)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the ", field.name, " is '", text, "', expected *, numbers from ", field.low,
                     " to ", field.high, ", ranges, lists and steps such as */15"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CronSchedule> CronSchedule::Parse(const std::string& fields,
                                                 const std::string& time_zone) {
  const std::vector<std::string> parts =
      absl::StrSplit(fields, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (parts.size() != 5) {
    return absl::InvalidArgumentError(
        absl::StrCat("is '", fields, "', which has ", parts.size(),
                     " fields, expected 5: minute hour day month weekday"));
  }
  CronSchedule schedule;
  RETURN_IF_ERROR(ParseField(0, parts[0], &schedule.minutes_));
  RETURN_IF_ERROR(ParseField(1, parts[1], &schedule.hours_));
  RETURN_IF_ERROR(ParseField(2, parts[2], &schedule.days_));
  RETURN_IF_ERROR(ParseField(3, parts[3], &schedule.months_));
  RETURN_IF_ERROR(ParseField(4, parts[4], &schedule.weekdays_));
  schedule.either_day_ = parts[2][0] != '*' && parts[4][0] != '*';
  if (!absl::LoadTimeZone(time_zone, &schedule.zone_)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the time zone is '", time_zone,
                     "', expected UTC or a name of the machine's time zone database (Debian's "
                     "package tzdata) such as Europe/Berlin"));
  }
  if (schedule.Next(0) == kNever) {
    return absl::InvalidArgumentError(absl::StrCat("is '", fields, "', which no day ever fits"));
  }
  return schedule;
}

bool CronSchedule::HasDay(absl::CivilDay day) const {
  // absl counts from Monday.
  const auto weekday = (static_cast<std::size_t>(absl::GetWeekday(day)) + 1) % 7;
  const bool in_month = days_.test(static_cast<std::size_t>(day.day()));
  const bool in_week = weekdays_.test(weekday);
  if (!months_.test(static_cast<std::size_t>(day.month()))) return false;
  return either_day_ ? in_month || in_week : in_month && in_week;
}

absl::Time CronSchedule::FirstOf(absl::CivilDay day, absl::Time after) const {
  for (int hour = 0; hour < 24; ++hour) {
    if (!hours_.test(static_cast<std::size_t>(hour))) continue;
    for (int minute = 0; minute < 60; ++minute) {
      if (!minutes_.test(static_cast<std::size_t>(minute))) continue;
      const absl::TimeZone::TimeInfo info =
          zone_.At(absl::CivilSecond(day.year(), day.month(), day.day(), hour, minute));
      const bool left_out = info.kind == absl::TimeZone::TimeInfo::SKIPPED;
      const absl::Time due = left_out ? info.trans : info.pre;
      if (due > after) return due;
    }
  }
  return absl::InfiniteFuture();
}

std::int64_t CronSchedule::Next(std::int64_t after_ms) const {
  const absl::Time after = absl::FromUnixMillis(after_ms);
  // A zone may leave out a whole day.
  const absl::CivilDay first = absl::ToCivilDay(after, zone_) - 1;
  for (int days = 0; days < kDaysAhead; ++days) {
    if (!HasDay(first + days)) continue;
    const absl::Time due = FirstOf(first + days, after);
    if (due != absl::InfiniteFuture()) return absl::ToUnixMillis(due);
  }
  return kNever;
}

}  // namespace llava::training
