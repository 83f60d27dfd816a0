// Where a model version stands on its way from a folder to the people and out of memory again.
#ifndef LLAVA_SERVER_REGISTRY_VERSION_STATE_H_
#define LLAVA_SERVER_REGISTRY_VERSION_STATE_H_

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/digest.h"

namespace llava::registry {

//   discovered → verifying → loading → warming → probing → canary → live → kept → draining → freed
//        any of the first six ─────────────────────────────────► rejected (never live)
//   kept: the version before the live one, still loaded, for a rollback at once
enum class VersionState : std::uint8_t {
  kDiscovered,
  kVerifying,
  kLoading,
  kWarming,
  kProbing,
  kCanary,
  kLive,
  kKept,
  kDraining,
  kFreed,
  kRejected,
};

// "probing".
const char* StateName(VersionState state);

bool IsLegalTransition(VersionState from, VersionState to);

// One version as RPC, metrics and log show it.
struct VersionInfo {
  Digest digest;  // of its manifest; all zero while it is not known
  std::string dir;
  VersionState state = VersionState::kDiscovered;
  TimePoint since;     // when it came into this state
  double traffic = 0;  // share of the requests, [0, 1]
  std::string reason;  // why it was rejected or rolled back; empty otherwise
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_VERSION_STATE_H_
