// A file that TensorBoard shows: records of proto/llava/tensorboard/v1/event.proto in TensorFlow's
// framing (length, masked CRC-32C of it, bytes, masked CRC-32C of them; all little endian).
#ifndef LLAVA_TRAINING_RUN_EVENT_FILE_H_
#define LLAVA_TRAINING_RUN_EVENT_FILE_H_

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "base/clock.h"
#include "training/optim/step_report.h"

namespace llava::training {

// One file a process. Used by the training thread; the clock outlives it.
class EventFile {
 public:
  // `folder` is made with the first step.
  EventFile(std::string folder, const Clock& clock) : folder_(std::move(folder)), clock_(clock) {}

  // UNAVAILABLE: the file cannot be written.
  absl::Status Write(const StepReport& report);
  absl::Status Write(const ValidationReport& report);

 private:
  absl::Status Open(std::int64_t first_step);
  void Append(const std::string& event);
  absl::Status Finish(const std::string& event);

  const std::string folder_;
  const Clock& clock_;
  std::ofstream out_;
};

// One framed record.
std::string FrameRecord(std::string_view bytes);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_EVENT_FILE_H_
