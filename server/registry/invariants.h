// What must hold of the registry after every step: the numbered list of README.md, as far as one
// state shows it. For tests and the simulation.
#ifndef LLAVA_SERVER_REGISTRY_INVARIANTS_H_
#define LLAVA_SERVER_REGISTRY_INVARIANTS_H_

#include "absl/status/status.h"
#include "server/registry/version_directory.h"
#include "server/registry/version_loader.h"

namespace llava::registry {

// INTERNAL with the number of the invariant that does not hold. `routes`: the last ones that the
// loader gave out.
absl::Status CheckInvariants(const VersionLoader& loader, const Routes& routes);

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_INVARIANTS_H_
