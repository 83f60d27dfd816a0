#include "training/tracking/teller.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

constexpr std::size_t kMostParams = 100;  // what MLflow takes at once

}  // namespace

absl::StatusOr<std::unique_ptr<Teller>> Teller::Make(
    const std::string& folder, const Clock& clock,
    std::function<void(const std::string&)> on_message) {
  ASSIGN_OR_RETURN(const RunRecord record, ReadRunRecord(folder));
  ASSIGN_OR_RETURN(std::unique_ptr<MlflowApi> api, MlflowApi::Make(record.options, clock));
  absl::StatusOr<SentRecord> sent = ReadSentRecord(folder);
  if (absl::IsNotFound(sent.status())) sent = SentRecord();
  RETURN_IF_ERROR(sent.status());
  return std::unique_ptr<Teller>(
      new Teller(folder, std::move(api), *std::move(sent), std::move(on_message)));
}

Teller::Teller(std::string folder, std::unique_ptr<MlflowApi> api, SentRecord sent,
               std::function<void(const std::string&)> on_message)
    : folder_(std::move(folder)),
      api_(std::move(api)),
      on_message_(std::move(on_message)),
      sent_(std::move(sent)),
      lines_(folder_ + "/metrics.jsonl") {}

absl::StatusOr<bool> Teller::Next() {
  ASSIGN_OR_RETURN(const RunRecord record, ReadRunRecord(folder_));
  const bool known = !sent_.run_id.empty() && sent_.uri == record.options.uri &&
                     sent_.experiment == record.options.experiment && sent_.key == record.key;
  if (!known) {
    RETURN_IF_ERROR(Begin(record));
    return true;
  }
  const bool changed = sent_.status != record.status;
  if (changed && record.status == kRunning) {
    RETURN_IF_ERROR(TellStatus(record));
    return true;
  }
  ASSIGN_OR_RETURN(const bool params, TellParams(record));
  if (params) return true;
  ASSIGN_OR_RETURN(const bool tags, TellTags(record));
  if (tags) return true;
  ASSIGN_OR_RETURN(const bool metrics, TellMetrics());
  if (metrics) return true;
  if (!changed) return false;
  RETURN_IF_ERROR(TellStatus(record));
  return true;
}

absl::StatusOr<std::string> Teller::Experiment(const std::string& name) {
  absl::StatusOr<std::string> found = api_->FindExperiment(name);
  if (!absl::IsNotFound(found.status())) return found;
  return api_->CreateExperiment(name);
}

// Another server or experiment than before is told everything from the start.
absl::Status Teller::Begin(const RunRecord& record) {
  ASSIGN_OR_RETURN(const std::string experiment, Experiment(record.options.experiment));
  absl::StatusOr<std::string> run = api_->FindRun(experiment, record.key);
  sent_ = SentRecord();
  if (absl::IsNotFound(run.status())) {
    run = api_->CreateRun(experiment, record);
    sent_.status = kRunning;
  }
  RETURN_IF_ERROR(run.status());
  sent_.uri = record.options.uri;
  sent_.experiment = record.options.experiment;
  sent_.key = record.key;
  sent_.run_id = *std::move(run);
  RETURN_IF_ERROR(WriteSentRecord(sent_, folder_));
  lines_.Rewind();
  on_message_(absl::StrCat("MLflow: run ", sent_.run_id, " of the experiment '", sent_.experiment,
                           "' at ", sent_.uri));
  return absl::OkStatus();
}

absl::StatusOr<bool> Teller::TellParams(const RunRecord& record) {
  NamedValues params;
  for (const auto& [name, value] : record.params) {
    if (params.size() == kMostParams) break;
    if (!sent_.params.contains(name)) params.emplace_back(name, value);
  }
  if (params.empty()) return false;
  RETURN_IF_ERROR(LeaveOut(api_->LogParams(sent_.run_id, params), "parameters"));
  for (const auto& [name, value] : params) sent_.params.insert(name);
  RETURN_IF_ERROR(WriteSentRecord(sent_, folder_));
  return true;
}

absl::StatusOr<bool> Teller::TellTags(const RunRecord& record) {
  if (sent_.tags == record.tags) return false;
  RETURN_IF_ERROR(LeaveOut(api_->SetTags(sent_.run_id, record.tags), "tags"));
  sent_.tags = record.tags;
  RETURN_IF_ERROR(WriteSentRecord(sent_, folder_));
  return true;
}

absl::StatusOr<bool> Teller::TellMetrics() {
  ASSIGN_OR_RETURN(const MetricBatch batch, lines_.Next(sent_.step, sent_.validation));
  if (!batch.points.empty()) {
    RETURN_IF_ERROR(api_->LogMetrics(sent_.run_id, batch.points));
    sent_.step = batch.step;
    sent_.validation = batch.validation;
    RETURN_IF_ERROR(WriteSentRecord(sent_, folder_));
  }
  lines_.Take();
  return !batch.points.empty();
}

absl::Status Teller::TellStatus(const RunRecord& record) {
  RETURN_IF_ERROR(api_->UpdateRun(sent_.run_id, record.status, record.ended));
  sent_.status = record.status;
  return WriteSentRecord(sent_, folder_);
}

// OK where the server has taken it, or never will.
absl::Status Teller::LeaveOut(const absl::Status& refused, const char* what) {
  if (!absl::IsInvalidArgument(refused)) return refused;
  on_message_(absl::StrCat("MLflow refuses some ", what,
                           " of this run, which go without: ", MessageOf(refused)));
  return absl::OkStatus();
}

}  // namespace llava::training
