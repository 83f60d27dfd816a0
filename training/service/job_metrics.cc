#include "training/service/job_metrics.h"

#include <boost/json/parse.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace llava::training {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;

constexpr std::pair<JobState, const char*> kStates[] = {
    {JobState::kQueued, "queued"},       {JobState::kRunning, "running"},
    {JobState::kSucceeded, "succeeded"}, {JobState::kFailed, "failed"},
    {JobState::kCancelled, "cancelled"}, {JobState::kRejected, "rejected"}};

MetricFamily Gauge(const std::string& name, const std::string& help) {
  return MetricFamily{name, help, prometheus::MetricType::Gauge, {}};
}

void Add(const std::string& label, const std::string& value, double number, MetricFamily* family) {
  ClientMetric metric;
  metric.label.push_back({label, value});
  metric.gauge.value = number;
  family->metric.push_back(std::move(metric));
}

}  // namespace

std::vector<MetricFamily> JobMetrics::Collect() const {
  const auto counts = store_.CountByState();
  const auto unfinished = store_.Unfinished();
  const auto succeeded = store_.LastSuccessMillis();
  if (!counts.ok() || !unfinished.ok() || !succeeded.ok()) return {};
  MetricFamily jobs = Gauge("llava_training_jobs", "Jobs by state");
  for (const auto& [state, name] : kStates) {
    const auto found = counts->find(state);
    Add("state", name, found == counts->end() ? 0.0 : static_cast<double>(found->second), &jobs);
  }
  MetricFamily step = Gauge("llava_training_job_step", "Steps that a running job has done");
  MetricFamily loss = Gauge("llava_training_job_loss", "Loss of a running job's last step");
  for (const Job& job : *unfinished) {
    if (job.state != JobState::kRunning) continue;
    boost::system::error_code error;
    const boost::json::value progress = boost::json::parse(runner_.Progress(job.id), error);
    const boost::json::object* fields = error ? nullptr : progress.if_object();
    if (fields == nullptr) continue;
    for (const auto& [key, family] : {std::pair("total_step", &step), std::pair("loss", &loss)}) {
      const boost::json::value* value = fields->if_contains(key);
      if (value == nullptr || !value->is_number()) continue;
      Add("job", absl::StrCat(job.id), value->to_number<double>(), family);
    }
  }
  MetricFamily success =
      Gauge("llava_training_last_success_timestamp_seconds",
            "When a job last succeeded: what it trained is published and the latest; 0: never");
  ClientMetric at;
  at.gauge.value = static_cast<double>(*succeeded) / 1000.0;
  success.metric.push_back(std::move(at));
  return {std::move(jobs), std::move(step), std::move(loss), std::move(success)};
}

}  // namespace llava::training
