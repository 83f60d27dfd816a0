// Tells an MLflow server what it does not know of a run yet, one thing after the other.
#ifndef LLAVA_TRAINING_TRACKING_TELLER_H_
#define LLAVA_TRAINING_TRACKING_TELLER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "training/tracking/metric_lines.h"
#include "training/tracking/mlflow_api.h"
#include "training/tracking/run_record.h"

namespace llava::training {

// Whatever of it is interrupted, and wherever: what the server has taken is written down
// (tracking/sent.json), and a run that it made unseen is found by its key. Next comes from one
// thread, Stop from any. One process at a time tells of a run.
class Teller {
 public:
  // `folder`: the run's. The errors of its records, and of MlflowApi::Make. The clock outlives it.
  static absl::StatusOr<std::unique_ptr<Teller>> Make(
      const std::string& folder, const Clock& clock,
      std::function<void(const std::string&)> on_message);

  // The next thing: the experiment and the run, that it runs, parameters, tags, metrics, and when
  // all of them are told, how it has ended. False: there is nothing left. The errors of MlflowApi
  // and of the records; the next call tries the same again. Parameters and tags that the server
  // refuses are left out, with a message.
  absl::StatusOr<bool> Next();

  std::optional<Duration> retry_after() const { return api_->retry_after(); }

  void Stop() { api_->Stop(); }

 private:
  Teller(std::string folder, std::unique_ptr<MlflowApi> api, SentRecord sent,
         std::function<void(const std::string&)> on_message);

  absl::Status Begin(const RunRecord& record);
  absl::StatusOr<std::string> Experiment(const std::string& name);
  absl::StatusOr<bool> TellParams(const RunRecord& record);
  absl::StatusOr<bool> TellTags(const RunRecord& record);
  absl::StatusOr<bool> TellMetrics();
  absl::Status TellStatus(const RunRecord& record);
  absl::Status LeaveOut(const absl::Status& refused, const char* what);

  const std::string folder_;
  const std::unique_ptr<MlflowApi> api_;
  const std::function<void(const std::string&)> on_message_;
  SentRecord sent_;
  MetricLines lines_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_TRACKING_TELLER_H_
