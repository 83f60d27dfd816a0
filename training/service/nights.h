// What surrounds the jobs of triggers: their pipelines, the version that they begin with, and at
// their end what was learned, a report, and a message to a webhook.
#ifndef LLAVA_TRAINING_SERVICE_NIGHTS_H_
#define LLAVA_TRAINING_SERVICE_NIGHTS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "model/checkpoint/version_lease.h"
#include "training/service/job.h"
#include "training/service/job_store.h"
#include "training/service/pipeline.h"
#include "training/service/service_config.h"
#include "training/service/webhook.h"

namespace llava::training {

// StepsOf and OnEnd are the runner's (JobRunnerOptions), on its thread.
class Nights {
 public:
  // Goes on telling webhooks what they have not taken yet. `program` is llava-train; `on_error` is
  // told what went wrong beside the jobs, from any thread. All arguments outlive this.
  // INVALID_ARGUMENT: a webhook's URL.
  static absl::StatusOr<std::unique_ptr<Nights>> Start(
      const ServiceConfig& config, const std::string& program, JobStore& store, const Clock& clock,
      std::function<void(const absl::Status&)> on_error);

  // nullptr: the job is one process. From then on until its end, retention leaves alone the version
  // that it begins with.
  JobSteps* StepsOf(const Job& job);

  // Writes report.md into the job's folder. A job that its trigger will try again is no end yet: no
  // webhook hears of it.
  void OnEnd(const Job& job);

 private:
  Nights(const ServiceConfig& config, JobStore& store, const Clock& clock,
         std::function<void(const absl::Status&)> on_error)
      : config_(config), store_(store), clock_(clock), on_error_(std::move(on_error)) {}

  absl::Status StartWebhooks();
  bool WillBeRetried(const Job& job) const;
  absl::Status RecordShards(const Job& job, const std::string& folder);
  absl::Status Report(const Job& job, const std::string& folder);
  void Expect(const absl::Status& status) const {
    if (!status.ok()) on_error_(status);
  }

  const ServiceConfig& config_;
  JobStore& store_;
  const Clock& clock_;
  const std::function<void(const absl::Status&)> on_error_;
  std::map<std::string, std::unique_ptr<Pipeline>> pipelines_;  // by trigger
  std::map<std::string, std::unique_ptr<Webhook>> webhooks_;    // by trigger
  std::map<std::int64_t, model::VersionLease> leases_;          // by job
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_NIGHTS_H_
