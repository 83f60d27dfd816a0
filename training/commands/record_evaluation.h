// A checkpoint that was evaluated, published with the result in its manifest.
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

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_RECORD_EVALUATION_H_
