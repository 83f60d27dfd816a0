// Where a model version stands on its way from a folder to the people and out of memory again.
#ifndef LLAVA_SERVER_REGISTRY_VERSION_STATE_H_
#define LLAVA_SERVER_REGISTRY_VERSION_STATE_H_

#include <cstdint>
#include <map>
#include <string>

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

// Whether an engine may hold the version.
bool IsLoaded(VersionState state);

// What a checkpoint's folder says of itself.
struct VersionIdentity {
  Digest digest;                             // of its manifest
  std::string parent;                        // the version it was trained from; may be empty
  std::int64_t step = 0;                     // of training
  std::map<std::string, double> evaluation;  // "colour": 0.98
};

// One version as RPC, metrics and log show it.
struct VersionInfo {
  VersionIdentity identity;  // empty, with a digest of zeros, while it is not known
  std::string dir;
  VersionState state = VersionState::kDiscovered;
  std::int64_t since_ms = 0;  // when it came into this state, milliseconds since 1970
  double traffic = 0;         // share of the requests, [0, 1]
  std::string reason;         // why it was rejected or rolled back; empty otherwise
  double load_seconds = 0;    // from verifying to ready to serve; 0 before
  std::int64_t bytes = 0;     // of its weights in memory; 0 before it is loaded
  std::int64_t answers = 0;   // finished since it was loaded
};

// A change of a version's state, as it was told.
struct VersionEvent {
  std::int64_t at_ms = 0;
  Digest digest;
  std::string dir;
  VersionState state = VersionState::kDiscovered;
  std::string reason;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_VERSION_STATE_H_
