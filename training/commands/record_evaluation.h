// What an evaluation says among those of other versions: drawn beside theirs, and published in a
// manifest.
#ifndef LLAVA_TRAINING_COMMANDS_RECORD_EVALUATION_H_
#define LLAVA_TRAINING_COMMANDS_RECORD_EVALUATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "training/evaluate/asking/report.h"

namespace llava::training {

// A version of the folder `root` with the same files and probes, and with the report among
// `evaluations` (instead of an earlier one of the same benchmark, data and judge). Files are linked
// where both folders are on one file system. Returns the version's folder; the errors of Publish,
// and FAILED_PRECONDITION for a report without a data fingerprint.
absl::StatusOr<std::string> RecordEvaluation(const std::string& checkpoint, const std::string& root,
                                             const EvaluationReport& report);

// Writes `out`/scores.svg: the report's scores and those of the versions beside the checkpoint
// (ScoresBeside). Nothing without `out` or scores.
absl::Status DrawScores(const std::string& checkpoint, const std::string& out,
                        const EvaluationReport& report);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_RECORD_EVALUATION_H_
