// Which rows of the closed shards a filter admits now, compared with which it admitted before: that
// is how new verdicts on rows that are long there become new data.
#ifndef LLAVA_CAPTURE_ADMISSION_H_
#define LLAVA_CAPTURE_ADMISSION_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "capture/selection.h"

namespace llava::capture {

// By the folder of a closed shard, which has an entry also where no row is admitted:
// "NUMBER:DIGEST" of each row that is, with half the digest of its line as it is learned.
using AdmittedRows = std::map<std::string, std::set<std::string>>;

// Rows, verdicts and records of the shards of `dir` that are closed now; a file may be missing.
// None where there is no folder. Errors carry errno's code and the path.
absl::StatusOr<std::vector<std::string>> ShardFiles(const std::string& dir);

// Adds what is admitted now to `rows`, and the lines of Choose, each with its end, to `lines`.
// Returns the damaged shards, which have no entry. Nothing where there is no folder. Errors of
// Choose.
absl::StatusOr<std::vector<DamagedShard>> Admit(const std::string& dir, const Wanted& wanted,
                                                AdmittedRows* rows, Sha256* lines);

std::int64_t CountRows(const AdmittedRows& rows);

// How many rows of the shards of `now` are admitted and were not in `before`, or the other way
// round, or are learned with another answer. Shards that have gone count nothing.
std::int64_t ChangedRows(const AdmittedRows& before, const AdmittedRows& now);

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_ADMISSION_H_
