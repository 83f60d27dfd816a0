// The file of a run that has one JSON line a step and a validation, <output>/metrics.jsonl:
// complete and without repetitions however often the run was killed.
#ifndef LLAVA_TRAINING_RUN_RUN_LOG_H_
#define LLAVA_TRAINING_RUN_RUN_LOG_H_

#include <cstdint>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "training/optim/step_report.h"

namespace llava::training {

// Used by the training thread.
class RunLog {
 public:
  explicit RunLog(std::string path) : path_(std::move(path)) {}

  // Before the first line, lines of that step and later ones are dropped: steps that were done
  // after the last save are done again.
  absl::Status Write(const StepReport& report);
  // So are validations after that step and later ones: they are repeated too.
  absl::Status Write(const ValidationReport& report);

 private:
  absl::Status Open(std::int64_t first_step, std::int64_t first_validation);
  absl::Status Append(const std::string& line);

  const std::string path_;
  std::ofstream out_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_RUN_LOG_H_
