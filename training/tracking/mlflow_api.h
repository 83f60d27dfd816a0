// What of MLflow's REST API (2.0) a run needs. The server is not trusted: any bytes may come.
#ifndef LLAVA_TRAINING_TRACKING_MLFLOW_API_H_
#define LLAVA_TRAINING_TRACKING_MLFLOW_API_H_

#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/http/blocking_post.h"
#include "base/http/http_exchange.h"
#include "training/tracking/metric_lines.h"
#include "training/tracking/mlflow_options.h"
#include "training/tracking/run_record.h"

namespace llava::training {

// Calls come from one thread at a time, Stop from any. Errors of calls:
//   UNAVAILABLE          no connection, no time, 429, 5xx, no answer of MLflow: later, perhaps
//   INVALID_ARGUMENT     it refuses this
//   NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED   so it says
//   CANCELLED            stopped
// Messages are in the server's own words, one line of bounded length without the token.
class MlflowApi {
 public:
  // The token is read here. The errors of ParseUrl and LoadMlflowToken. The clock outlives it.
  static absl::StatusOr<std::unique_ptr<MlflowApi>> Make(const MlflowOptions& options,
                                                         const Clock& clock);

  // The id of an experiment that is not deleted; NOT_FOUND when there is none, FAILED_PRECONDITION
  // when it is deleted.
  absl::StatusOr<std::string> FindExperiment(const std::string& name);
  absl::StatusOr<std::string> CreateExperiment(const std::string& name);

  // The id of the run that CreateRun made with this key. NOT_FOUND when there is none.
  absl::StatusOr<std::string> FindRun(const std::string& experiment, const std::string& key);
  absl::StatusOr<std::string> CreateRun(const std::string& experiment, const RunRecord& record);

  // `ended` is not told when it is 0.
  absl::Status UpdateRun(const std::string& run, const std::string& status, std::int64_t ended);

  // At most 1000 points, 100 parameters, 100 tags.
  absl::Status LogMetrics(const std::string& run, const std::vector<MetricPoint>& points);
  absl::Status LogParams(const std::string& run, const NamedValues& params);
  absl::Status SetTags(const std::string& run, const std::map<std::string, std::string>& tags);

  // How long the last answer asked to wait, at most 10 minutes.
  std::optional<Duration> retry_after() const { return retry_after_; }

  void Stop() { post_.Stop(); }

 private:
  MlflowApi(HttpTarget target, std::string token, bool allow_plain, const Clock& clock);

  absl::StatusOr<boost::json::object> Call(const char* what, const boost::json::object& body);
  absl::StatusOr<boost::json::object> Read(const HttpAnswer& answer) const;
  absl::Status Refusal(const HttpAnswer& answer) const;

  const HttpTarget target_;
  const std::string token_;
  const bool allow_plain_;
  const Clock& clock_;
  BlockingPost post_;
  std::optional<Duration> retry_after_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_TRACKING_MLFLOW_API_H_
