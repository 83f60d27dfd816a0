#include "training/service/trigger.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"
#include "training/publish/publish.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxRecipeBytes = std::size_t{1} << 20;
constexpr std::int64_t kDayMs = std::int64_t{24} * 3600 * 1000;

// Names, sizes and times: cheap, and different whenever something changed.
std::string LookOf(const std::vector<std::string>& files) {
  std::string look;
  for (const std::string& file : files) {
    std::error_code ignored;  // a file that has just gone looks different, which is right
    absl::StrAppend(&look, file, " ", fs::file_size(file, ignored), " ",
                    fs::last_write_time(file, ignored).time_since_epoch().count(), "\n");
  }
  return look;
}

// Says it once, however many filters take captured shards of one folder.
void SetShardAside(const TriggerJobs& jobs, const SetAside& shard, JobInputs* inputs) {
  const std::vector<SetAside>& known = inputs->set_aside;
  if (std::find(known.begin(), known.end(), shard) != known.end()) return;
  jobs.say(absl::StrCat(shard.path, " is set aside until it changes: ", shard.why));
  inputs->set_aside.push_back(shard);
}

// Of a file that is empty now: what the trigger's newest job knew of it. "" when it held nothing.
absl::StatusOr<std::string> WhatWasLost(const Job& newest, const std::string& path) {
  ASSIGN_OR_RETURN(const JobInputs before, ParseJobInputs(newest.inputs));
  for (const Shard& shard : before.shards) {
    if (shard.path != path || shard.rows == 0) continue;
    return absl::StrCat("it is empty, and had ", shard.rows, " rows for job ", newest.id);
  }
  for (const SetAside& shard : before.set_aside) {
    if (shard.path == path) return shard.why;
  }
  return "";
}

}  // namespace

std::optional<std::int64_t> RetryTime(const TriggerOptions& trigger, const Job& job) {
  if (job.state != JobState::kFailed || job.attempts > trigger.retries) return std::nullopt;
  const int doubled = std::clamp(job.attempts - 1, 0, 20);
  const std::int64_t time = job.ended_ms + (trigger.backoff_ms << doubled);
  if (job.deadline_ms != 0 && time >= job.deadline_ms) return std::nullopt;
  return time;
}

absl::StatusOr<bool> Trigger::WasTrainedOn(const std::string& fingerprint) const {
  if (options_.published.empty()) return false;
  std::error_code error;
  const bool there = fs::exists(options_.published, error);
  if (error) return absl::ErrnoToStatus(error.value(), options_.published);
  if (!there) return false;
  ASSIGN_OR_RETURN(const std::vector<PublishedVersion> versions, ListVersions(options_.published));
  for (const PublishedVersion& version : versions) {
    const auto read = model::ReadManifest(version.dir);
    if (read.ok() && read->manifest.data_fingerprint == fingerprint) return true;
  }
  return false;
}

// Whether a time of the schedule has passed that nobody looked after. At the very first look none
// has.
absl::StatusOr<bool> Trigger::IsTime(const TriggerJobs& jobs, const std::optional<Job>& newest,
                                     std::int64_t now_ms) const {
  ASSIGN_OR_RETURN(std::int64_t handled, jobs.handled());
  if (handled == 0 || handled > now_ms + kDayMs) {
    RETURN_IF_ERROR(jobs.set_handled(now_ms));
    return false;
  }
  // The service may have been killed between making a job and noting that.
  if (newest && !newest->inputs.empty() && newest->created_ms <= now_ms) {
    handled = std::max(handled, newest->created_ms);
  }
  return options_.schedule->Next(handled) <= now_ms;
}

// Why shards make no job; "" when they do.
absl::StatusOr<std::string> Trigger::WhyNot(const TriggerJobs& jobs, const std::string& fingerprint,
                                            const JobInputs& inputs) const {
  if (options_.always) return "";
  if (inputs.shards.empty() && inputs.captured == 0) {
    return "there are neither shards nor captured rows that the recipe admits";
  }
  std::int64_t new_rows = inputs.captured_changed;
  for (const Shard& shard : inputs.shards) new_rows += shard.is_new ? shard.rows : 0;
  // Without new rows the rest is less than what was learned: the next version would have forgotten
  // the damaged ones, and mended they would be no news.
  if (new_rows == 0 && !inputs.set_aside.empty()) {
    return "nothing is new beside what is set aside";
  }
  if (new_rows < options_.min_new_rows) {
    return absl::StrCat(new_rows, " new rows, at least ", options_.min_new_rows, " are wanted");
  }
  ASSIGN_OR_RETURN(const std::optional<Job> job, jobs.find(fingerprint));
  const bool in_vain =
      job && (job->state == JobState::kFailed || job->state == JobState::kCancelled);
  if (job && !(options_.schedule && in_vain)) {
    return absl::StrCat("the same shards as those of job ", job->id);
  }
  ASSIGN_OR_RETURN(const std::int64_t learned, jobs.trained(fingerprint));
  if (learned != 0) return absl::StrCat("job ", learned, " has learned these shards");
  ASSIGN_OR_RETURN(const bool trained, WasTrainedOn(fingerprint));
  return trained ? "a published version has learned these shards" : "";
}

// Notes of servers and operators come at any time, also long after the job.
absl::Status Trigger::Quarantine(const TriggerJobs& jobs,
                                 std::map<std::string, KnownShard>* known) const {
  if (options_.published.empty()) return absl::OkStatus();
  for (auto& [sha256, shard] : *known) {
    if (shard.version.empty() || !shard.quarantined.empty()) continue;
    const std::optional<std::string> note = RollbackNote(options_.published, shard.version);
    if (!note) continue;
    shard.quarantined = absl::StrCat("version ", shard.version.substr(0, 12),
                                     " was taken back: ", note->empty() ? "no reason" : *note);
    RETURN_IF_ERROR(jobs.quarantine(sha256, shard));
  }
  return absl::OkStatus();
}

absl::StatusOr<JobInputs> Trigger::Inputs(const TriggerJobs& jobs,
                                          const std::vector<std::string>& paths) const {
  ASSIGN_OR_RETURN(auto known, jobs.known());
  RETURN_IF_ERROR(Quarantine(jobs, &known));
  ASSIGN_OR_RETURN(const std::optional<Job> newest, jobs.newest());
  JobInputs inputs;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(Shard shard, DescribeShard(path, options_.scratch));
    if (shard.is_blank && newest && shard.damage.empty()) {
      ASSIGN_OR_RETURN(shard.damage, WhatWasLost(*newest, path));
    }
    if (shard.is_blank && shard.damage.empty()) {
      jobs.say(absl::StrCat(path, " is left out: it is empty"));
      continue;
    }
    if (!shard.damage.empty()) {
      SetShardAside(jobs, {path, shard.damage}, &inputs);
      continue;
    }
    const auto found = known.find(shard.sha256);
    shard.is_new = found == known.end();
    if (shard.is_new || found->second.quarantined.empty()) {
      inputs.shards.push_back(std::move(shard));
    } else {
      jobs.say(absl::StrCat(path, " is in quarantine: ", found->second.quarantined));
    }
  }
  ASSIGN_OR_RETURN(inputs.recipe, ReadFile(options_.recipe, kMaxRecipeBytes));
  if (options_.published.empty()) return inputs;
  const auto live = LiveVersion(options_.published);
  if (!live.ok() && !absl::IsNotFound(live.status())) return live.status();
  if (live.ok()) {
    inputs.base = fs::absolute(live->dir).string();
    inputs.base_version = live->version;
  }
  return inputs;
}

absl::Status Trigger::MakeJob(const TriggerJobs& jobs, const std::vector<std::string>& paths,
                              const std::vector<CapturedFilter>& captured,
                              std::int64_t now_ms) const {
  ASSIGN_OR_RETURN(JobInputs inputs, Inputs(jobs, paths));
  std::vector<std::string> learned;
  for (const Shard& shard : inputs.shards) learned.push_back(shard.path);
  Sha256 data;  // what the run takes for the fingerprint of its data
  RETURN_IF_ERROR(HashShards(learned, &data));
  capture::AdmittedRows admitted;
  for (const CapturedFilter& filter : captured) {
    ASSIGN_OR_RETURN(const std::vector<capture::DamagedShard> damaged,
                     capture::Admit(filter.dir, filter.wanted, &admitted, &data));
    for (const auto& [folder, why] : damaged) SetShardAside(jobs, {folder, why}, &inputs);
  }
  if (!captured.empty()) {
    ASSIGN_OR_RETURN(const capture::AdmittedRows before, jobs.learned());
    inputs.captured = capture::CountRows(admitted);
    inputs.captured_changed = capture::ChangedRows(before, admitted);
  }
  Job job{.creator = options_.name,
          .data_fingerprint = data.Finish().Hex(),
          .inputs = JobInputsJson(inputs)};
  ASSIGN_OR_RETURN(const std::string why_not, WhyNot(jobs, job.data_fingerprint, inputs));
  if (!why_not.empty()) {
    if (options_.schedule) jobs.say(absl::StrCat("no job: ", why_not));
    return absl::OkStatus();
  }
  // A recipe without rows is none: here it has those that will be generated.
  std::optional<Shard> generated;
  if (options_.always && inputs.shards.empty()) generated = Shard{kGeneratedRows, "", 0, true};
  ASSIGN_OR_RETURN(job.recipe, RenderRecipe(inputs, options_.mix, generated));
  if (options_.deadline_ms != 0) job.deadline_ms = now_ms + options_.deadline_ms;
  return jobs.create(job, admitted);
}

// A recipe that is not there is told of when a job is to be made of it.
absl::StatusOr<std::vector<CapturedFilter>> Trigger::Captured() const {
  const auto recipe = ReadFile(options_.recipe, kMaxRecipeBytes);
  if (!recipe.ok()) return std::vector<CapturedFilter>();
  return CapturedFiltersOf(*recipe);
}

absl::Status Trigger::Look(const TriggerJobs& jobs, std::int64_t now_ms) {
  ASSIGN_OR_RETURN(const std::vector<std::string> shards, ListShards(options_.watch));
  ASSIGN_OR_RETURN(const std::optional<Job> newest, jobs.newest());
  const auto retry = newest ? RetryTime(options_, *newest) : std::nullopt;
  // Behind its deadline too: it ends then. A job that ended in the future: the clock was set back.
  if (retry && (now_ms >= *retry || now_ms < newest->ended_ms)) return jobs.retry(newest->id);
  std::vector<std::string> files = shards;
  if (!options_.trigger_file.empty()) {
    std::error_code error;
    const bool there = fs::exists(options_.trigger_file, error);
    if (error) return absl::ErrnoToStatus(error.value(), options_.trigger_file);
    if (!there) return absl::OkStatus();
    files = {options_.trigger_file};
  }
  std::string look = LookOf(files);
  const bool stable = std::exchange(seen_, look) == look;
  const auto captured = Captured();
  const bool has_captured = !captured.ok() || !captured->empty();
  if (captured.ok() && options_.trigger_file.empty()) {
    for (const CapturedFilter& filter : *captured) {
      ASSIGN_OR_RETURN(const std::vector<std::string> rows, capture::ShardFiles(filter.dir));
      absl::StrAppend(&look, LookOf(rows));
    }
  }
  const bool waits = options_.schedule || options_.one_at_a_time || has_captured;
  if (waits && newest && (retry || !HasEnded(newest->state))) return absl::OkStatus();
  if (options_.schedule) {
    ASSIGN_OR_RETURN(const bool due, IsTime(jobs, newest, now_ms));
    if (!due || !stable) return absl::OkStatus();
  } else if ((shards.empty() && !has_captured) || !stable || (captured.ok() && look == handled_)) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(captured.status());
  RETURN_IF_ERROR(MakeJob(jobs, shards, *captured, now_ms));
  handled_ = look;
  return options_.schedule ? jobs.set_handled(now_ms) : absl::OkStatus();
}

}  // namespace llava::training
