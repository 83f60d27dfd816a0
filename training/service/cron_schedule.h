// When something is due by five fields of cron, on the wall clock of one time zone.
#ifndef LLAVA_TRAINING_SERVICE_CRON_SCHEDULE_H_
#define LLAVA_TRAINING_SERVICE_CRON_SCHEDULE_H_

#include <bitset>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace llava::training {

// "MINUTE HOUR DAY MONTH WEEKDAY": in each `*`, numbers, ranges `1-5`, lists `1,3,5`, and steps
// `*/15` or `10-50/20`; months and weekdays also by the first three letters of their English names;
// weekdays are 0 (Sunday) to 7 (Sunday too). When neither DAY nor WEEKDAY begins with `*`, a day
// that fits one of them is enough. Nothing else of cron's many dialects.
//
// Each minute of the wall clock comes once. One that a change to summer time leaves out comes at
// the moment of the change; one that a change back repeats comes the first time only. Immutable,
// any thread.
class CronSchedule {
 public:
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

  // INVALID_ARGUMENT says which field or zone is wrong, and of fields that no day fits (30
  // February).
  static absl::StatusOr<CronSchedule> Parse(const std::string& fields,
                                            const std::string& time_zone);

  // The first moment after `after_ms` that is due; both in milliseconds since 1970.
  std::int64_t Next(std::int64_t after_ms) const;

 private:
  bool HasDay(absl::CivilDay day) const;
  absl::Time FirstOf(absl::CivilDay day, absl::Time after) const;

  std::bitset<60> minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_;     // 1 to 31
  std::bitset<13> months_;   // 1 to 12
  std::bitset<7> weekdays_;  // from Sunday on
  bool either_day_ = false;  // days_ or weekdays_; else both
  absl::TimeZone zone_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_CRON_SCHEDULE_H_
