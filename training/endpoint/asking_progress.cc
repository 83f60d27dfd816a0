#include "training/endpoint/asking_progress.h"

#include "absl/strings/str_format.h"

namespace llava::training {
namespace {

constexpr double kSecondsOfAReport = 5;
constexpr double kSecondsOfAMinute = 60;

}  // namespace

AskingProgress::AskingProgress(const Clock& clock, const Endpoint& endpoint,
                               const std::function<void(const std::string&)>& say,
                               std::int64_t done, std::int64_t all)
    : clock_(clock),
      endpoint_(endpoint),
      say_(say),
      began_(clock.Now()),
      known_(endpoint.stats().cached),
      done_before_(done),
      all_(all),
      done_(done),
      said_(began_) {}

void AskingProgress::Answered() {
  ++done_;
  const TimePoint now = clock_.Now();
  if (done_ < all_ && Seconds(now - said_) < kSecondsOfAReport) return;
  said_ = now;
  const EndpointStats stats = endpoint_.stats();
  const double seconds = Seconds(now - began_);
  const std::int64_t asked = done_ - done_before_ - (stats.cached - known_);
  const double rate = seconds > 0 ? static_cast<double>(asked) / seconds : 0;
  const double left = rate > 0 ? static_cast<double>(all_ - done_) / rate : 0;
  say_(absl::StrFormat("%d of %d, %.2f/s, cost %.4f, %.0f min left", done_, all_, rate, stats.cost,
                       left / kSecondsOfAMinute));
}

}  // namespace llava::training
