// What each cache domain has brought to the engine, kept without blocks: what the caches may have
// spared a request is at most what another request of its model version and domain brought
// (invariant 17 of server/scheduling/README.md).
#ifndef LLAVA_TESTS_SIMULATION_CACHE_LEDGER_H_
#define LLAVA_TESTS_SIMULATION_CACHE_LEDGER_H_

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "base/digest.h"
#include "server/scheduling/request.h"

namespace llava::simulation {

class CacheLedger {
 public:
  // The request came; `answers` are what its choices have to be. REQUIRES: its id is new.
  void Add(const scheduling::Request& request,
           const std::vector<std::vector<std::int32_t>>& answers);

  // INTERNAL when `usage` says that the request was spared what no other one of its domain brought.
  // `complete`: it ran to its end, so that every picture was needed.
  absl::Status Check(const scheduling::Request& request, const scheduling::Usage& usage,
                     bool complete) const;

 private:
  struct Bringers {
    scheduling::RequestId first;
    bool others = false;
  };

  void Note(const Digest& content, scheduling::RequestId id);
  bool HasOther(const Digest& content, scheduling::RequestId id) const;

  // By the digest of the first blocks of a prompt, or of a picture; both with version and domain.
  std::unordered_map<Digest, Bringers> contents_;
};

}  // namespace llava::simulation

#endif  // LLAVA_TESTS_SIMULATION_CACHE_LEDGER_H_
