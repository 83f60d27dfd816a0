// How far `llava batch` is.
#ifndef LLAVA_CLIENT_BATCH_PROGRESS_H_
#define LLAVA_CLIENT_BATCH_PROGRESS_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "base/clock.h"

namespace llava::client {

struct BatchProgress {
  std::int64_t total = 0;
  std::int64_t before = 0;  // rows that an earlier run left
  std::int64_t answered = 0;
  std::int64_t failed = 0;
  std::size_t under_way = 0;

  std::int64_t left() const { return total - before - answered - failed; }
};

// "120 of 1000, 3 failed, 2.50 a second, 0:05:52 left": rate and time left by what was done in
// `elapsed`, and nothing of them before the first row.
std::string ProgressText(const BatchProgress& progress, Duration elapsed);

// That text on a terminal as one line that changes; elsewhere as a line at the start, every 30
// seconds and at the end. Not thread-safe.
class ProgressLine {
 public:
  // Both outlive it.
  ProgressLine(const Clock* clock, std::FILE* file);

  void Show(const BatchProgress& progress);

 private:
  const Clock* const clock_;
  std::FILE* const file_;
  const bool terminal_;
  const TimePoint begin_;
  TimePoint next_;
};

}  // namespace llava::client

#endif  // LLAVA_CLIENT_BATCH_PROGRESS_H_
