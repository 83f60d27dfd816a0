// Says no early: what is accepted and not yet ended is bounded by count, tokens, bytes and pixels,
// for each tenant and in total. Bytes and pixels are known before anything is decoded.
#ifndef LLAVA_SERVER_SCHEDULING_ADMISSION_H_
#define LLAVA_SERVER_SCHEDULING_ADMISSION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/scheduling/costs/measurements.h"
#include "server/scheduling/limits.h"

namespace llava::scheduling {

// A refusal may say when to try again; carried as a payload of the status.
absl::Status WithRetryAfter(absl::Status status, Duration retry_after);
std::optional<Duration> RetryAfter(const absl::Status& status);

// What one request holds. `requests` is 1 for a whole request, 0 for an addition to one.
using AdmissionCost = AdmissionBounds;

// Adds `cost` to `sum`, `sign` (1 or -1) times. REQUIRES: no sum becomes negative.
void Accumulate(AdmissionCost& sum, const AdmissionCost& cost, int sign);

// Thread-compatible (engine/admission_gate.h is the thread-safe door).
// Invariants: the sum of what is held never exceeds a bound; tenants that hold nothing are
// forgotten. Where room is left for others, no tenant's second request makes it hold more than is
// free afterwards: one that takes all it can get has half of each bound, two of them a third each,
// and whoever comes next finds room.
class Admission {
 public:
  // REQUIRES: Validate(options) is OK.
  explicit Admission(const AdmissionOptions& options) : options_(options) {}

  // OK and held, or nothing changed: RESOURCE_EXHAUSTED naming the bound, with RetryAfter; or
  // INVALID_ARGUMENT when `cost` alone is over a bound and waiting cannot help.
  // Time does not go back from call to call. `already`: what the same request holds.
  absl::Status Reserve(const std::string& tenant, const AdmissionCost& cost, TimePoint now,
                       const AdmissionCost& already = {});

  // REQUIRES: `cost` is held by `tenant`.
  void Release(const std::string& tenant, const AdmissionCost& cost, TimePoint now);

  // Whether tenants leave room for others, from now on; at first they do not.
  void LeaveRoom(bool leave) { leave_room_ = leave; }

  const AdmissionCost& held() const { return held_; }
  AdmissionCost held_by(const std::string& tenant) const;

 private:
  absl::Status CheckAll(const std::string& tenant, const AdmissionCost& cost,
                        const AdmissionCost& already) const;
  Duration EstimateRetry(TimePoint now) const;

  const AdmissionOptions options_;
  bool leave_room_ = false;
  AdmissionCost held_;
  std::unordered_map<std::string, AdmissionCost> tenants_;
  // How fast places become free: the time from one end of a request to the next one, as long as
  // something is held all the while. Time in which nobody asked says nothing about that.
  Measurements seconds_per_end_;
  TimePoint since_{};  // the last end, or when something was held again
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_ADMISSION_H_
