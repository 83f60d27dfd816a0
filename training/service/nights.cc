#include "training/service/nights.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "training/service/night_report.h"
#include "training/service/trigger.h"

namespace llava::training {
namespace {

constexpr char kWebhookStep[] = "webhook";

}  // namespace

absl::StatusOr<std::unique_ptr<Nights>> Nights::Start(
    const ServiceConfig& config, const std::string& program, JobStore& store, const Clock& clock,
    std::function<void(const absl::Status&)> on_error) {
  std::unique_ptr<Nights> nights(new Nights(config, store, clock, std::move(on_error)));
  for (const auto& [name, options] : config.pipelines) {
    nights->pipelines_[name] = std::make_unique<Pipeline>(options, program, store, clock);
  }
  RETURN_IF_ERROR(nights->StartWebhooks());
  return nights;
}

absl::Status Nights::StartWebhooks() {
  for (const auto& [name, options] : config_.webhooks) {
    const auto on_end = [this](const WebhookMessage& message, const absl::Status& status) {
      Expect(Annotate(status, absl::StrCat("the webhook did not take job ", message.job)));
      const StepState state = status.ok() ? StepState::kDone : StepState::kFailed;
      Expect(store_.RecordStep(message.job, kWebhookStep,
                               {state, 0, clock_.UnixMillis(), MessageOf(status)}));
    };
    ASSIGN_OR_RETURN(webhooks_[name], Webhook::Start(options, clock_, on_end));
  }
  ASSIGN_OR_RETURN(const std::vector<WaitingStep> waiting, store_.Begun(kWebhookStep));
  for (const WaitingStep& step : waiting) {
    const auto job = store_.Get(step.job);
    const bool ended = job.ok() && HasEnded(job->state);  // else its end is about to come again
    const auto hook = ended ? webhooks_.find(job->creator) : webhooks_.end();
    if (hook != webhooks_.end()) hook->second->Post({step.job, step.message});
  }
  return absl::OkStatus();
}

JobSteps* Nights::StepsOf(const Job& job) {
  if (job.inputs.empty()) return nullptr;
  const auto inputs = ParseJobInputs(job.inputs);
  if (inputs.ok() && !inputs->base.empty() && !leases_.contains(job.id)) {
    auto lease = model::VersionLease::Share(inputs->base);
    if (lease.ok()) leases_.emplace(job.id, *std::move(lease));  // else the run says what is gone
  }
  const auto found = pipelines_.find(job.creator);
  return found == pipelines_.end() ? nullptr : found->second.get();
}

bool Nights::WillBeRetried(const Job& job) const {
  for (const TriggerOptions& trigger : config_.triggers) {
    if (trigger.name == job.creator) return RetryTime(trigger, job).has_value();
  }
  return false;
}

// What was learned is no longer new to the trigger, also when something failed after it had been
// published; what was rejected is learned by no later job.
absl::Status Nights::RecordShards(const Job& job, const std::string& folder) {
  const bool rejected = job.state == JobState::kRejected;
  ASSIGN_OR_RETURN(const StepRecords steps, store_.Steps(job.id));
  const auto published = PublishedBy(job, steps, folder);
  if (job.state != JobState::kSucceeded && !rejected && !published) return absl::OkStatus();
  ASSIGN_OR_RETURN(const JobInputs inputs, ParseJobInputs(job.inputs));
  const std::string why =
      rejected ? absl::StrCat("job ", job.id, " was rejected: ", job.message) : "";
  const KnownShard known{published ? published->version : "", why};
  for (const Shard& shard : inputs.shards) {
    if (shard.is_new) RETURN_IF_ERROR(store_.RecordShard(job.creator, shard.sha256, known));
  }
  RETURN_IF_ERROR(store_.RecordTrained(job.creator, job.data_fingerprint, job.id));
  return store_.LearnAdmitted(job.creator, job.id);
}

absl::Status Nights::Report(const Job& job, const std::string& folder) {
  ASSIGN_OR_RETURN(const StepRecords steps, store_.Steps(job.id));
  std::error_code ignored;                               // shows when the page is written
  std::filesystem::create_directories(folder, ignored);  // of a job that never ran
  return WriteFile(folder + "/report.md", NightReport(job, steps, folder));
}

void Nights::OnEnd(const Job& job) {
  if (job.inputs.empty()) return;
  const std::string folder = absl::StrCat(config_.folder, "/", job.id);
  Expect(RecordShards(job, folder));
  Expect(Report(job, folder));
  if (WillBeRetried(job)) return;
  leases_.erase(job.id);
  const auto hook = webhooks_.find(job.creator);
  if (hook == webhooks_.end()) return;
  const auto steps = store_.Steps(job.id);
  Expect(steps.status());
  const std::string body = NightMessage(job, steps.value_or(StepRecords()), folder);
  // Recorded first: after a crash it is posted again. Where that fails the job's end cannot be
  // stored either, and comes again.
  const absl::Status recorded =
      store_.RecordStep(job.id, kWebhookStep, {StepState::kBegun, clock_.UnixMillis(), 0, body});
  Expect(recorded);
  if (recorded.ok()) hook->second->Post({job.id, body});
}

}  // namespace llava::training
