#include "training/service/pipeline.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "training/recipe/recipe.h"
#include "training/recipe/run_folders.h"
#include "training/service/night_report.h"

namespace llava::training {
namespace {

constexpr std::size_t kMaxPlanBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxRecordBytes = std::size_t{1} << 20;
constexpr int kBelow = 1;     // of llava-train evaluate: a required score is not reached
constexpr int kRejected = 3;  // of llava-train run and canary

bool Is(const StepRecords& steps, const std::string& name, StepState state) {
  const auto found = steps.find(name);
  return found != steps.end() && found->second.state == state;
}

// Has ended, and the next one may begin.
bool IsPassed(const StepRecords& steps, const std::string& name) {
  return Is(steps, name, StepState::kDone) || Is(steps, name, StepState::kSkipped) ||
         Is(steps, name, StepState::kRejected);
}

// Of an exam that was not passed: the last line that `run` printed.
std::string VerdictOf(const StepRecord& evaluate) {
  absl::string_view verdict = evaluate.message;
  absl::ConsumePrefix(&verdict, "rejected: ");
  return verdict.empty() ? "the exam was not passed" : std::string(verdict);
}

}  // namespace

const std::vector<std::string>& StepNames() {
  static const std::vector<std::string> names = {"generate", "check",   "train", "evaluate",
                                                 "gate",     "publish", "canary"};
  return names;
}

absl::StatusOr<std::string> RunFolder(const Job& job, const std::string& folder) {
  ASSIGN_OR_RETURN(const Recipe recipe,
                   ParseRecipe(job.recipe, absl::StrCat(folder, "/recipe.yaml")));
  return RunFolderOf(recipe.output, NewestRun(recipe.output));
}

std::optional<PublishedVersion> PublishedBy(const Job& job, const StepRecords& steps,
                                            const std::string& folder) {
  // Before that step the newest run may be another job's, where they share an output.
  const auto publish = steps.find("publish");
  const bool came_to_it = publish != steps.end() && publish->second.state != StepState::kSkipped;
  if (steps.contains(StepNames().front()) && !came_to_it) return std::nullopt;
  const auto run = RunFolder(job, folder);
  if (!run.ok()) return std::nullopt;
  const auto record = ReadFile(absl::StrCat(*run, "/finished.json"), kMaxRecordBytes);
  if (!record.ok()) return std::nullopt;
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse(*record, error);
  if (error || !value.is_object()) return std::nullopt;
  const auto text = [&value](const char* key) {
    const boost::json::value* const found = value.as_object().if_contains(key);
    return found != nullptr && found->is_string() ? std::string(found->as_string()) : "";
  };
  if (text("version").empty()) return std::nullopt;
  return PublishedVersion{text("version"), text("dir")};
}

absl::StatusOr<JobStep> Pipeline::Next(const Job& job, const std::string& folder) {
  for (const std::string& name : StepNames()) {
    ASSIGN_OR_RETURN(const StepRecords steps, store_.Steps(job.id));
    if (IsPassed(steps, name)) continue;
    StepRecord record{StepState::kBegun, clock_.UnixMillis(), 0, ""};
    ASSIGN_OR_RETURN(Command command, CommandOf(name, job, folder, steps));
    if (!command.empty()) {
      RETURN_IF_ERROR(store_.RecordStep(job.id, name, record));
      return JobStep{std::move(command), JobState::kRunning, ""};
    }
    const bool rejected = name == "gate" && Is(steps, "evaluate", StepState::kRejected);
    record.state = rejected ? StepState::kRejected : StepState::kSkipped;
    if (rejected) record.message = steps.at("evaluate").message;
    record.ended_ms = record.began_ms;
    RETURN_IF_ERROR(store_.RecordStep(job.id, name, record));
  }
  ASSIGN_OR_RETURN(const StepRecords steps, store_.Steps(job.id));
  // Published in spite of the exam: by somebody's hand, in the job's folder.
  const bool published = Is(steps, "publish", StepState::kDone);
  for (const std::string& name : StepNames()) {
    if (!Is(steps, name, StepState::kRejected) || (published && name != "canary")) continue;
    return JobStep{{}, JobState::kRejected, steps.at(name).message};
  }
  return JobStep{{}, JobState::kSucceeded, ""};
}

// Empty: there is nothing to do.
absl::StatusOr<Pipeline::Command> Pipeline::CommandOf(const std::string& step, const Job& job,
                                                      const std::string& folder,
                                                      const StepRecords& steps) const {
  const auto until = [&](const char* end) {
    return Command{program_, "run", absl::StrCat(folder, "/recipe.yaml"), "--until", end};
  };
  if (step == "generate") {
    if (options_.generate.empty()) return Command();
    ASSIGN_OR_RETURN(const std::string plan, ReadFile(options_.generate, kMaxPlanBytes));
    RETURN_IF_ERROR(WriteFile(absl::StrCat(folder, "/plan.yaml"), plan));
    return Command{program_, "generate", absl::StrCat(folder, "/plan.yaml")};
  }
  ASSIGN_OR_RETURN(const JobInputs inputs, ParseJobInputs(job.inputs));
  ASSIGN_OR_RETURN(const bool generated,
                   WriteRecipe(inputs, Is(steps, "generate", StepState::kDone), folder));
  if (step == "check") {
    return CheckCommand(inputs, generated ? absl::StrCat(folder, "/", kGeneratedRows) : "");
  }
  if (step == "train") return until("train");
  if (step == "evaluate") return until("evaluate");
  if (step == "gate") {
    const bool failed_exam = Is(steps, "evaluate", StepState::kRejected);
    return options_.judged.empty() || failed_exam ? Command() : GateCommand(job, folder);
  }
  if (step == "publish") return PublishCommand(steps, folder);
  return CanaryCommand(job, folder, steps);
}

Pipeline::Command Pipeline::PublishCommand(const StepRecords& steps,
                                           const std::string& folder) const {
  Command command = {program_, "run", absl::StrCat(folder, "/recipe.yaml"), "--until", "publish"};
  if (!Is(steps, "evaluate", StepState::kRejected)) {
    return Is(steps, "gate", StepState::kRejected) ? Command() : command;
  }
  // What the exam rejects is kept beside the others by `run`, or dropped, as the recipe says. The
  // verdict stands: the version that it was compared with may have been taken back since.
  command.push_back(absl::StrCat("--rejected=", VerdictOf(steps.at("evaluate"))));
  return command;
}

// Only the latest version is one that a server takes by itself.
absl::StatusOr<Pipeline::Command> Pipeline::CanaryCommand(const Job& job, const std::string& folder,
                                                          const StepRecords& steps) const {
  const ServingDaemon& server = options_.server;
  if (server.address.empty() || !Is(steps, "publish", StepState::kDone)) return Command();
  const auto published = PublishedBy(job, steps, folder);
  if (!published) return absl::DataLossError(absl::StrCat(folder, ": says of no version"));
  Command command = {program_, "canary", published->dir, "--server", server.address};
  if (!server.ca.empty()) command.insert(command.end(), {"--ca", server.ca});
  if (!server.token_file.empty()) {
    command.insert(command.end(), {"--token-file", server.token_file});
  }
  command.insert(command.end(), {"--wait", absl::StrCat(server.wait_seconds)});
  return command;
}

// Whether it has rows that were generated: of none all answers may have been refused.
absl::StatusOr<bool> Pipeline::WriteRecipe(const JobInputs& inputs, bool generated,
                                           const std::string& folder) const {
  std::optional<Shard> made;
  if (generated) {
    ASSIGN_OR_RETURN(made, DescribeShard(absl::StrCat(folder, "/", kGeneratedRows), folder));
    made->is_new = true;
    if (made->is_blank) made.reset();
  }
  ASSIGN_OR_RETURN(const std::string recipe, RenderRecipe(inputs, options_.mix, made));
  RETURN_IF_ERROR(WriteFile(absl::StrCat(folder, "/recipe.yaml"), recipe));
  return made.has_value();
}

absl::StatusOr<Pipeline::Command> Pipeline::CheckCommand(const JobInputs& inputs,
                                                         const std::string& generated) const {
  Command command = {program_, "check"};
  for (const Shard& shard : inputs.shards) {
    if (shard.is_new) command.push_back(shard.path);
  }
  if (!generated.empty()) command.push_back(generated);
  if (command.size() == 2) return Command();
  command.emplace_back("--max-bad-share");
  command.push_back(absl::StrCat(options_.max_bad_share));
  if (options_.images.empty()) return command;
  command.emplace_back("--images");
  command.push_back(options_.images);
  return command;
}

absl::StatusOr<Pipeline::Command> Pipeline::GateCommand(const Job& job,
                                                        const std::string& folder) const {
  ASSIGN_OR_RETURN(const std::string run, RunFolder(job, folder));
  Command command = {program_, "evaluate"};
  command.insert(command.end(), options_.judged.begin(), options_.judged.end());
  command.insert(command.end(), {"--checkpoint", absl::StrCat(run, "/checkpoint"), "--out",
                                 absl::StrCat(folder, "/judged")});
  return command;
}

StepState Pipeline::StateAfter(const std::string& step, int exit_code) const {
  if (exit_code == 0) return StepState::kDone;
  if (step == "gate" && exit_code == kBelow) return StepState::kRejected;
  if (step == "gate" && options_.gate_optional) return StepState::kSkipped;
  if (step == "generate" && options_.train_without_generated) return StepState::kSkipped;
  const bool exam = step == "evaluate" || step == "publish" || step == "canary";
  return exam && exit_code == kRejected ? StepState::kRejected : StepState::kFailed;
}

absl::Status Pipeline::Ended(const Job& job, const std::string& folder, int exit_code,
                             const std::string& why) {
  ASSIGN_OR_RETURN(const StepRecords steps, store_.Steps(job.id));
  for (const std::string& name : StepNames()) {
    if (!Is(steps, name, StepState::kBegun)) continue;
    StepRecord record = steps.at(name);
    record.state = StateAfter(name, exit_code);
    record.ended_ms = clock_.UnixMillis();
    record.message = exit_code == 0 ? StepSummary(name, job, steps, folder) : why;
    RETURN_IF_ERROR(store_.RecordStep(job.id, name, record));
    if (record.state != StepState::kFailed) return absl::OkStatus();
    return absl::AbortedError(absl::StrCat(name, ": ", why));
  }
  return absl::InternalError(absl::StrCat("job ", job.id, " has no step that had begun"));
}

}  // namespace llava::training
