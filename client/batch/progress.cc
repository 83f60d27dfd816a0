#include "client/batch/progress.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace llava::client {
namespace {

constexpr Duration kQuietInterval = std::chrono::seconds(30);

}  // namespace

std::string ProgressText(const BatchProgress& progress, Duration elapsed) {
  const std::int64_t done = progress.answered + progress.failed;
  std::string text = absl::StrCat(progress.before + done, " of ", progress.total);
  if (progress.failed > 0) absl::StrAppend(&text, ", ", progress.failed, " failed");
  const double seconds = Seconds(elapsed);
  if (done == 0 || seconds <= 0) return text;
  const double rate = static_cast<double>(done) / seconds;
  const auto left = static_cast<std::int64_t>(static_cast<double>(progress.left()) / rate);
  absl::StrAppend(&text, absl::StrFormat(", %.2f a second, %d:%02d:%02d left", rate, left / 3600,
                                         left / 60 % 60, left % 60));
  return text;
}

ProgressLine::ProgressLine(const Clock* clock, std::FILE* file)
    : clock_(clock),
      file_(file),
      terminal_(isatty(fileno(file)) != 0),
      begin_(clock->Now()),
      next_(begin_) {}

void ProgressLine::Show(const BatchProgress& progress) {
  const TimePoint now = clock_->Now();
  const bool ended = progress.left() == 0;
  if (!terminal_ && now < next_ && !ended) return;
  next_ = now + kQuietInterval;
  std::fprintf(file_, terminal_ ? "\r%s\x1b[K%s" : "%s%s",
               ProgressText(progress, now - begin_).c_str(), terminal_ && !ended ? "" : "\n");
  std::fflush(file_);
}

}  // namespace llava::client
