#include "training/run/run_folder.h"

#include <chrono>
#include <utility>

#include "training/report/run_report.h"
#include "training/run/loss_curve.h"

namespace llava::training {
namespace {

constexpr Duration kBetweenDrawings = std::chrono::minutes(1);

}  // namespace

RunFolder::RunFolder(const std::string& name, const std::string& folder, const Clock& clock,
                     std::function<void(const std::string&)> on_message)
    : name_(name),
      folder_(folder),
      clock_(clock),
      on_message_(std::move(on_message)),
      log_(folder + "/metrics.jsonl"),
      events_(folder + "/tensorboard", clock),
      next_drawing_(clock.Now() + kBetweenDrawings) {}

void RunFolder::Warn(const absl::Status& status) {
  if (!status.ok()) on_message_(std::string(status.message()));
}

void RunFolder::Add(const StepReport& report) {
  Warn(log_.Write(report));
  Warn(events_.Write(report));
  if (clock_.Now() >= next_drawing_) DrawLoss();
}

void RunFolder::Add(const ValidationReport& report) {
  Warn(log_.Write(report));
  Warn(events_.Write(report));
}

void RunFolder::DrawLoss() {
  Warn(DrawLossCurve(folder_ + "/metrics.jsonl", folder_ + "/loss.png"));
  Warn(WriteRunReport(name_, folder_));
  next_drawing_ = clock_.Now() + kBetweenDrawings;
}

}  // namespace llava::training
