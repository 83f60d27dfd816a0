// What a run leaves in its folder for people and tools to look at: metrics.jsonl, TensorBoard's
// events, the image of the loss and the
// report as a page.
#ifndef LLAVA_TRAINING_RUN_RUN_FOLDER_H_
#define LLAVA_TRAINING_RUN_RUN_FOLDER_H_

#include <functional>
#include <string>

#include "base/clock.h"
#include "training/optim/step_report.h"
#include "training/run/event_file.h"
#include "training/run/run_log.h"

namespace llava::training {

// Used by the training thread. Training goes on when a file cannot be written: `on_message` says
// so.
class RunFolder {
 public:
  // `name`: of the run, for the report's title.
  RunFolder(const std::string& name, const std::string& folder, const Clock& clock,
            std::function<void(const std::string&)> on_message);

  void Add(const StepReport& report);
  void Add(const ValidationReport& report);

  // Draws the loss as it stands, and writes the report.
  void DrawLoss();

 private:
  void Warn(const absl::Status& status);

  const std::string name_;
  const std::string folder_;
  const Clock& clock_;
  const std::function<void(const std::string&)> on_message_;
  RunLog log_;
  EventFile events_;
  TimePoint next_drawing_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_RUN_FOLDER_H_
