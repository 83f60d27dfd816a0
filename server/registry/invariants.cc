#include "server/registry/invariants.h"

#include <cmath>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::registry {
namespace {

using Entry = VersionTable::Entry;
using enum VersionState;

absl::Status Broken(int number, absl::string_view what) {
  return absl::InternalError(absl::StrCat("registry invariant ", number, ": ", what));
}

absl::Status OfEntry(const Entry& entry) {
  const VersionInfo& info = entry.info;
  const std::string name =
      absl::StrCat(info.dir, " (", StateName(info.state), ", ", EndingName(info.ending), ")");
  const bool ended = info.state == kDraining || info.state == kFreed || info.state == kRejected;
  if (ended != (info.ending != Ending::kNone)) return Broken(3, absl::StrCat(name, ": its ending"));
  if (ended) {
    if (info.state == kFreed && IsRejection(info.ending)) return Broken(3, name);
    if (info.state == kRejected && !IsRejection(info.ending)) return Broken(3, name);
    if (info.reason.empty() == IsRejection(info.ending)) {
      return Broken(3, absl::StrCat(name, ": has the reason \"", info.reason, "\""));
    }
  }
  const bool answers = info.state == kLive || info.state == kCanary;
  if ((entry.served != nullptr) != (answers || info.state == kKept)) return Broken(4, name);
  if (!answers && info.traffic != 0) return Broken(2, absl::StrCat(name, " has traffic"));
  return absl::OkStatus();
}

absl::Status OfRoutes(const VersionLoader& loader, const Routes& routes, const Entry* live,
                      const Entry* canary) {
  const auto served = [](const Entry* entry) {
    return entry == nullptr ? nullptr : entry->served.get();
  };
  if (routes.live.get() != served(live)) return Broken(5, "requests see another live version");
  if (routes.canary.get() != served(canary)) return Broken(5, "requests see another canary");
  if (canary != nullptr && routes.canary_share != canary->info.traffic) {
    return Broken(5, "requests see another share of the canary");
  }
  if (routes.swap.has_value() != loader.swapping()) return Broken(5, "requests see another swap");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckInvariants(const VersionLoader& loader, const Routes& routes) {
  std::map<VersionState, int> count;
  const Entry* live = nullptr;
  const Entry* canary = nullptr;
  double traffic = 0;
  for (const Entry& entry : loader.table().entries()) {
    RETURN_IF_ERROR(OfEntry(entry));
    ++count[entry.info.state];
    traffic += entry.info.traffic;
    if (entry.info.state == kLive) live = &entry;
    if (entry.info.state == kCanary) canary = &entry;
  }
  if (count[kLive] > 1 || count[kCanary] > 1 || count[kKept] > 1) {
    return Broken(1, "two versions are live, canary or kept");
  }
  if (live == nullptr && count[kCanary] + count[kKept] > 0) {
    return Broken(1, "a canary or a kept version without a live one");
  }
  if (std::abs(traffic - (live == nullptr ? 0 : 1)) > 1e-9) {
    return Broken(2, absl::StrCat("the shares of the traffic add up to ", traffic));
  }
  RETURN_IF_ERROR(OfRoutes(loader, routes, live, canary));
  if (loader.judging() != (canary != nullptr)) return Broken(6, "a judge without a canary");
  const int arriving =
      count[kDiscovered] + count[kVerifying] + count[kLoading] + count[kWarming] + count[kProbing];
  if (arriving > 1) return Broken(7, absl::StrCat(arriving, " versions are being loaded"));
  const int in_engines = count[kLoading] + count[kWarming] + count[kProbing];
  const int others = count[kCanary] + count[kLive] + count[kKept] + count[kDraining];
  if (loader.options().swap && in_engines > 0 && others > 0) {
    return Broken(8, "a version is loaded beside another one");
  }
  return absl::OkStatus();
}

}  // namespace llava::registry
