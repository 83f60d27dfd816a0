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

// Why a version is on its way out, or is out. What follows from it is decided by this value alone;
// the sentence in VersionInfo::reason is for people.
enum class Ending : std::uint8_t {
  kNone,        // it is on its way in, or answers, or is kept
  kReplaced,    // a newer version is live, and this one is not to be kept
  kSuperseded,  // a canary in whose place another version came
  kUnloaded,    // by an operator
  kSwappedOut,  // made room for the version that is to be loaded
  kFailed,      // could not be identified, verified, loaded, warmed or probed
  kRefused,     // was rolled back before, by this daemon or by another one
  kTooSlow,     // a canary whose answers came late: perhaps the machine's fault, it is tried again
  kRolledBack,  // a canary that was worse, or a version that an operator took back
};

// "probing", "rolled_back".
const char* StateName(VersionState state);

const char* EndingName(Ending ending);

// Whether a version that ended so is `rejected` at last, and not taken in again unless somebody
// asks for it; else it is `freed`. REQUIRES: not kNone.
bool IsRejection(Ending ending);

// Whether the ending is noted beside the published versions, for other daemons and restarts.
bool IsRemembered(Ending ending);

bool IsLegalTransition(VersionState from, VersionState to);

// Whether an engine may hold the version.
bool IsLoaded(VersionState state);

// What a checkpoint's folder says of itself.
struct VersionIdentity {
  Digest digest;                             // of its manifest
  std::string parent;                        // the version it was trained from; may be empty
  std::int64_t step = 0;                     // of training
  std::map<std::string, double> evaluation;  // "colour": 0.98
  // Share of right answers in each exam. The name is of the exam as a whole (benchmark, questions,
  // judge): equal names can be compared, others cannot.
  std::map<std::string, double> exams = {};
};

// One version as RPC, metrics and log show it.
struct VersionInfo {
  VersionIdentity identity;  // empty, with a digest of zeros, while it is not known
  std::string dir;
  VersionState state = VersionState::kDiscovered;
  std::int64_t since_ms = 0;  // when it came into this state, milliseconds since 1970
  double traffic = 0;         // share of the requests, [0, 1]
  Ending ending = Ending::kNone;
  std::string reason;        // the same as a sentence, for what was rejected; empty otherwise
  double load_seconds = 0;   // from verifying to ready to serve; 0 before
  std::int64_t bytes = 0;    // of its weights in memory; 0 before it is loaded
  std::int64_t answers = 0;  // finished since it was loaded
};

// A change of a version's state, as it was told.
struct VersionEvent {
  std::int64_t at_ms = 0;
  Digest digest;
  std::string dir;
  VersionState state = VersionState::kDiscovered;
  Ending ending = Ending::kNone;
  std::string reason;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_VERSION_STATE_H_
