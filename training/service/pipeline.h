// A night: the steps of a trigger's job, each a process of llava-train in the job's folder, each
// recorded in the database before it begins and when it has ended.
#ifndef LLAVA_TRAINING_SERVICE_PIPELINE_H_
#define LLAVA_TRAINING_SERVICE_PIPELINE_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "training/publish/publish.h"
#include "training/service/job.h"
#include "training/service/job_inputs.h"
#include "training/service/job_runner.h"
#include "training/service/job_store.h"
#include "training/service/server_verdict.h"

namespace llava::training {

struct PipelineOptions {
  std::string generate = {};  // a plan whose `output` is `generated`; "": no rows are made
  bool train_without_generated = false;  // when that fails; else the night fails
  std::string images = {};               // the folder that new rows are checked against; "": none
  double max_bad_share = 0.01;           // of the new rows
  std::vector<std::string> judged = {};  // `llava-train evaluate` of the new weights; empty: none
  bool gate_optional = false;            // publishes although that cannot be asked
  Mix mix = {};
  ServingDaemon server = {};  // that serves what is published; its verdict is the last step
};

// In this order: generate, check, train, evaluate, gate, publish, canary.
const std::vector<std::string>& StepNames();

// Where a job's newest run is: with an output that jobs share, the folder in it that the last one
// began (training/run/opened_run.h). Errors are those of the job's recipe.
absl::StatusOr<std::string> RunFolder(const Job& job, const std::string& folder);

// The version that a job has published, whether or not as the latest; nothing when it has published
// none. `steps` are those of its pipeline, should it have one.
std::optional<PublishedVersion> PublishedBy(const Job& job, const StepRecords& steps,
                                            const std::string& folder);

// What every step is for is in docs/training.md. A process that is run again goes on where it was:
// so a step that had begun when the service went down, whatever of it had happened, is run again.
// Publishing is the same version then, by its digest. Used by the runner's thread.
class Pipeline final : public JobSteps {
 public:
  // `program` is llava-train. Store and clock outlive this.
  Pipeline(PipelineOptions options, std::string program, JobStore& store, const Clock& clock)
      : options_(std::move(options)), program_(std::move(program)), store_(store), clock_(clock) {}

  absl::StatusOr<JobStep> Next(const Job& job, const std::string& folder) override;
  absl::Status Ended(const Job& job, const std::string& folder, int exit_code,
                     const std::string& why) override;

 private:
  using Command = std::vector<std::string>;

  absl::StatusOr<Command> CommandOf(const std::string& step, const Job& job,
                                    const std::string& folder, const StepRecords& steps) const;
  absl::StatusOr<Command> CheckCommand(const JobInputs& inputs, const std::string& generated) const;
  absl::StatusOr<Command> GateCommand(const Job& job, const std::string& folder) const;
  Command PublishCommand(const StepRecords& steps, const std::string& folder) const;
  absl::StatusOr<Command> CanaryCommand(const Job& job, const std::string& folder,
                                        const StepRecords& steps) const;
  absl::StatusOr<bool> WriteRecipe(const JobInputs& inputs, bool generated,
                                   const std::string& folder) const;
  StepState StateAfter(const std::string& step, int exit_code) const;

  const PipelineOptions options_;
  const std::string program_;
  JobStore& store_;
  const Clock& clock_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_PIPELINE_H_
