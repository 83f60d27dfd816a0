#include "server/registry/version_state.h"

namespace llava::registry {

const char* StateName(VersionState state) {
  switch (state) {
    case VersionState::kDiscovered:
      return "discovered";
    case VersionState::kVerifying:
      return "verifying";
    case VersionState::kLoading:
      return "loading";
    case VersionState::kWarming:
      return "warming";
    case VersionState::kProbing:
      return "probing";
    case VersionState::kCanary:
      return "canary";
    case VersionState::kLive:
      return "live";
    case VersionState::kKept:
      return "kept";
    case VersionState::kDraining:
      return "draining";
    case VersionState::kFreed:
      return "freed";
    case VersionState::kRejected:
      return "rejected";
  }
  return "unknown";
}

const char* EndingName(Ending ending) {
  switch (ending) {
    case Ending::kNone:
      return "none";
    case Ending::kReplaced:
      return "replaced";
    case Ending::kSuperseded:
      return "superseded";
    case Ending::kUnloaded:
      return "unloaded";
    case Ending::kSwappedOut:
      return "swapped_out";
    case Ending::kFailed:
      return "failed";
    case Ending::kRefused:
      return "refused";
    case Ending::kTooSlow:
      return "too_slow";
    case Ending::kRolledBack:
      return "rolled_back";
  }
  return "unknown";
}

bool IsRejection(Ending ending) {
  switch (ending) {
    case Ending::kFailed:
    case Ending::kRefused:
    case Ending::kTooSlow:
    case Ending::kRolledBack:
      return true;
    default:
      return false;
  }
}

bool IsRemembered(Ending ending) { return ending == Ending::kRolledBack; }

bool IsLoaded(VersionState state) {
  return state >= VersionState::kWarming && state <= VersionState::kDraining;
}

bool IsLegalTransition(VersionState from, VersionState to) {
  using enum VersionState;
  switch (from) {
    case kDiscovered:
      return to == kVerifying || to == kRejected;
    case kVerifying:
      return to == kLoading || to == kRejected;
    case kLoading:
      return to == kWarming || to == kRejected;
    case kWarming:
      return to == kProbing || to == kDraining;
    case kProbing:
      return to == kCanary || to == kLive || to == kDraining;
    case kCanary:
      return to == kLive || to == kDraining;
    case kLive:
      return to == kKept || to == kDraining;
    case kKept:
      return to == kLive || to == kDraining;
    case kDraining:
      return to == kFreed || to == kRejected;
    case kFreed:
    case kRejected:
      return to == kDiscovered;  // asked for again
  }
  return false;
}

}  // namespace llava::registry
