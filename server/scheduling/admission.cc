#include "server/scheduling/admission.h"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace llava::scheduling {
namespace {

constexpr char kRetryAfterUrl[] = "llava.retry_after_ns";
// A client that comes back sooner would mostly be refused again; one that waits longer than the
// most would leave places empty that became free meanwhile.
constexpr double kMinRetrySeconds = 0.1;
constexpr double kMaxRetrySeconds = 30;
// Until an end was measured.
constexpr double kUnknownRetrySeconds = 1;

struct Bound {
  const char* name;
  std::int64_t AdmissionBounds::* value;
};
constexpr Bound kBounds[] = {{"requests", &AdmissionBounds::requests},
                             {"tokens", &AdmissionBounds::tokens},
                             {"bytes", &AdmissionBounds::bytes},
                             {"pixels", &AdmissionBounds::pixels}};

bool IsZero(const AdmissionCost& cost) {
  return std::all_of(std::begin(kBounds), std::end(kBounds),
                     [&cost](const Bound& bound) { return cost.*bound.value == 0; });
}

// OK when `cost` fits beside `held`; otherwise names the first bound that it does not fit.
absl::Status CheckFits(const AdmissionCost& held, const AdmissionCost& cost,
                       const AdmissionBounds& bounds, const std::string& whose) {
  for (const Bound& bound : kBounds) {
    const std::int64_t wanted = cost.*bound.value;
    const std::int64_t limit = bounds.*bound.value;
    if (wanted > limit) {
      return absl::InvalidArgumentError(absl::StrCat("the request needs ", wanted, " ", bound.name,
                                                     ", over the limit of ", limit, " ", whose));
    }
    if (held.*bound.value + wanted > limit) {
      return absl::ResourceExhaustedError(
          absl::StrCat("too many ", bound.name, " in progress ", whose, ": ", held.*bound.value,
                       " of ", limit, " are taken and the request needs ", wanted));
    }
  }
  return absl::OkStatus();
}

// OK when `tenant`, which holds `own`, has no other request than the one that holds `already`, or
// leaves others as much as it then holds.
absl::Status CheckRoom(const AdmissionCost& held, const AdmissionCost& own,
                       const AdmissionCost& cost, const AdmissionCost& already,
                       const AdmissionBounds& total, const std::string& tenant) {
  for (const Bound& bound : kBounds) {
    const std::int64_t wanted = cost.*bound.value;
    const std::int64_t mine = own.*bound.value;
    const std::int64_t free = total.*bound.value - held.*bound.value;
    if (wanted == 0 || mine == already.*bound.value || mine + wanted <= free) continue;
    return absl::ResourceExhaustedError(
        absl::StrCat("too many ", bound.name, " in progress for tenant \"", tenant, "\": it holds ",
                     mine, ", the request needs ", wanted, ", and of the ", free,
                     " that are free others must find ", "as many"));
  }
  return absl::OkStatus();
}

}  // namespace

void Accumulate(AdmissionCost& sum, const AdmissionCost& cost, int sign) {
  for (const Bound& bound : kBounds) {
    sum.*bound.value += sign * (cost.*bound.value);
    LLAVA_CHECK_GE(sum.*bound.value, 0);
  }
}

absl::Status WithRetryAfter(absl::Status status, Duration retry_after) {
  const std::string count = absl::StrCat(retry_after.count());
  // Of a view: Clang and GCC name the constructor from a string differently.
  status.SetPayload(kRetryAfterUrl, absl::Cord(absl::string_view(count)));
  return status;
}

std::optional<Duration> RetryAfter(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryAfterUrl);
  std::int64_t count = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &count)) return std::nullopt;
  return Duration(count);
}

absl::Status Admission::CheckAll(const std::string& tenant, const AdmissionCost& cost,
                                 const AdmissionCost& already) const {
  const AdmissionCost own = held_by(tenant);
  RETURN_IF_ERROR(CheckFits(held_, cost, options_.total, "in total"));
  RETURN_IF_ERROR(
      CheckFits(own, cost, options_.per_tenant, absl::StrCat("for tenant \"", tenant, "\"")));
  if (!leave_room_) return absl::OkStatus();
  return CheckRoom(held_, own, cost, already, options_.total, tenant);
}

absl::Status Admission::Reserve(const std::string& tenant, const AdmissionCost& cost, TimePoint now,
                                const AdmissionCost& already) {
  const absl::Status status = CheckAll(tenant, cost, already);
  if (absl::IsResourceExhausted(status)) return WithRetryAfter(status, EstimateRetry(now));
  if (!status.ok()) return status;
  if (IsZero(held_)) since_ = now;
  Accumulate(held_, cost, 1);
  Accumulate(tenants_[tenant], cost, 1);
  return status;
}

void Admission::Release(const std::string& tenant, const AdmissionCost& cost, TimePoint now) {
  const auto found = tenants_.find(tenant);
  LLAVA_CHECK(found != tenants_.end());
  Accumulate(held_, cost, -1);
  Accumulate(found->second, cost, -1);
  if (IsZero(found->second)) tenants_.erase(found);
  if (cost.requests == 0) return;  // the request goes on
  seconds_per_end_.Add(Seconds(now - since_));
  since_ = now;
}

AdmissionCost Admission::held_by(const std::string& tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? AdmissionCost{} : found->second;
}

// The median of the last gaps, so that one stutter is not in it, less the time that has passed
// since the last end: the next one comes nearer.
Duration Admission::EstimateRetry(TimePoint now) const {
  const double typical =
      seconds_per_end_.count() == 0 ? kUnknownRetrySeconds : seconds_per_end_.Quantile(0.5);
  const double seconds =
      std::clamp(typical - Seconds(now - since_), kMinRetrySeconds, kMaxRetrySeconds);
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace llava::scheduling
