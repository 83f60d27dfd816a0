// A request to be forgotten: a whole conversation goes from shards that nothing was trained on; in
// the others its rows are marked, so that no later run takes them, and the versions are named that
// have learned from them.
#ifndef LLAVA_CAPTURE_REMOVAL_H_
#define LLAVA_CAPTURE_REMOVAL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava::capture {

// NOT_FOUND (FieldOf: "id"), which the files' errors are not.
absl::Status NoSuchAnswer(const std::string& tenant, const std::string& id);

struct Removed {
  std::int64_t deleted = 0;           // rows that are gone
  std::int64_t kept = 0;              // rows in shards that were trained on
  std::vector<std::string> versions;  // that were trained on these shards
  std::vector<std::string> runs;      // folders of runs that took them; each has a copy
};

// The conversation of the answers `id` of `tenant`, and every other one of the tenant that begins
// with the same words and pictures, in the closed shards of `dir`. May be asked again, with the
// same result for what is kept. NoSuchAnswer: the tenant has none of it. Else the errors of the
// files; what was done stays done. REQUIRES: nobody else writes in `dir`.
absl::StatusOr<Removed> RemoveConversation(const std::string& dir, const std::string& tenant,
                                           const std::string& id);

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_REMOVAL_H_
