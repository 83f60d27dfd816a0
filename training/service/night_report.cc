#include "training/service/night_report.h"

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/utf8_stream.h"
#include "training/service/job_inputs.h"
#include "training/service/pipeline.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxFileBytes = std::size_t{64} << 20;

std::string StateText(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return "QUEUED";
    case JobState::kRunning:
      return "RUNNING";
    case JobState::kSucceeded:
      return "SUCCEEDED";
    case JobState::kFailed:
      return "FAILED";
    case JobState::kCancelled:
      return "CANCELLED";
    case JobState::kRejected:
      return "REJECTED";
  }
  return "";
}

std::string StateText(StepState state) {
  switch (state) {
    case StepState::kBegun:
      return "begun";
    case StepState::kDone:
      return "done";
    case StepState::kFailed:
      return "failed";
    case StepState::kSkipped:
      return "skipped";
    case StepState::kRejected:
      return "rejected";
  }
  return "";
}

// An object of a file; an empty one when there is none.
json::object ReadObject(const std::string& path) {
  const auto text = ReadFile(path, kMaxFileBytes);
  if (!text.ok()) return {};
  boost::system::error_code error;
  json::value value = json::parse(*text, error);
  return error || !value.is_object() ? json::object() : std::move(value.as_object());
}

std::string Text(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : "";
}

double Number(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_number() ? value->to_number<double>() : 0.0;
}

json::object Object(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_object() ? value->as_object() : json::object();
}

std::vector<json::object> Objects(const json::object& object, std::string_view key) {
  std::vector<json::object> list;
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_array()) return list;
  for (const json::value& item : value->as_array()) {
    if (item.is_object()) list.push_back(item.as_object());
  }
  return list;
}

// A job's run; "" when its recipe cannot be read.
std::string OutputOf(const Job& job, const std::string& folder) {
  return RunFolder(job, folder).value_or("");
}

// Of a run: its first and its last step.
struct LossRange {
  double first = 0;
  double last = 0;
  std::int64_t steps = 0;
};

std::optional<LossRange> Losses(const std::string& output) {
  std::ifstream file(output + "/metrics.jsonl");
  std::optional<LossRange> losses;
  for (std::string line; std::getline(file, line);) {
    boost::system::error_code error;
    const json::value value = json::parse(line, error);
    if (error || !value.is_object() || !value.as_object().contains("loss")) continue;
    const double loss = Number(value.as_object(), "loss");
    if (!losses) losses = LossRange{.first = loss};
    losses->last = loss;
    ++losses->steps;
  }
  return losses;
}

struct Rows {
  std::int64_t fresh = 0;
  std::int64_t old = 0;
};

Rows CountRows(const JobInputs& inputs) {
  Rows rows;
  for (const Shard& shard : inputs.shards) (shard.is_new ? rows.fresh : rows.old) += shard.rows;
  return rows;
}

JobInputs InputsOf(const Job& job) {
  auto inputs = ParseJobInputs(job.inputs);
  return inputs.ok() ? *std::move(inputs) : JobInputs();
}

// For a cell of a table: one line.
std::string Cell(std::string_view text) {
  return absl::StrReplaceAll(std::string(text), {{"\n", " "}, {"|", "\\|"}});
}

std::string Share(const json::object& share) {
  if (share.empty()) return "-";
  return absl::StrFormat("%.1f %% (%.1f to %.1f)", 100 * Number(share, "share"),
                         100 * Number(share, "low"), 100 * Number(share, "high"));
}

// Of the rows that the job has made; "" when it has made none.
std::string Generated(const std::string& folder) {
  const json::object generated = ReadObject(folder + "/generated/report.json");
  if (generated.empty()) return "";
  const auto sum = [&generated](std::string_view key) {
    double all = 0;
    const json::object counts = Object(generated, key);
    for (const auto& count : counts) all += Number(counts, count.key());
    return all;
  };
  return absl::StrFormat("%.0f accepted, %.0f rejected; cost %.2f", sum("accepted"),
                         sum("rejected"), Number(generated, "cost"));
}

// What the newest `llava-train check` in the job's log has counted: "rows 120, 3 bad (2.50%)".
std::string Checked(const std::string& folder) {
  constexpr std::int64_t kEnd = 16384;
  std::ifstream file(folder + "/log", std::ios::binary | std::ios::ate);
  if (!file) return "";
  file.seekg(std::max<std::int64_t>(0, static_cast<std::int64_t>(file.tellg()) - kEnd));
  std::string found;
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() > 3 && words[0] == "rows") found = absl::StrJoin(words, " ");
  }
  return found;
}

// The exams with their scores.
std::string Scored(const std::string& output) {
  std::vector<std::string> scores;
  for (const json::object& exam : Objects(ReadObject(output + "/gate.json"), "exams")) {
    scores.push_back(absl::StrFormat("%s: %.1f %% of %.0f questions", Text(exam, "name"),
                                     100 * Number(Object(exam, "new"), "share"),
                                     Number(exam, "questions")));
  }
  return absl::StrJoin(scores, ", ");
}

void AddData(const Job& job, const std::string& folder, std::string* page) {
  const JobInputs inputs = InputsOf(job);
  const Rows rows = CountRows(inputs);
  absl::StrAppend(page, "\n## Data\n\n- ", rows.fresh, " new rows, ", rows.old, " old ones, in ",
                  inputs.shards.size(), " files\n");
  if (inputs.captured != 0 || inputs.captured_changed != 0) {
    absl::StrAppend(page, "- ", inputs.captured, " captured rows, ", inputs.captured_changed,
                    " taken, left out or corrected since the last version\n");
  }
  for (const auto& [path, why] : inputs.set_aside) {
    absl::StrAppend(page, "- set aside until it changes: ", Cell(path), ": ", Cell(why), "\n");
  }
  const std::string generated = Generated(folder);
  if (!generated.empty()) absl::StrAppend(page, "- generated: ", generated, "\n");
  const std::string base = inputs.base_version.empty() ? "none" : inputs.base_version;
  absl::StrAppend(page, "- begins with version: ", base, "\n");
}

void AddSteps(const StepRecords& steps, std::string* page) {
  if (steps.empty()) return;
  absl::StrAppend(page, "\n## Steps\n\n| step | | took | |\n|---|---|---|---|\n");
  for (const std::string& name : StepNames()) {
    const auto found = steps.find(name);
    if (found == steps.end()) continue;
    const StepRecord& step = found->second;
    const auto took = absl::Milliseconds(std::max<std::int64_t>(0, step.ended_ms - step.began_ms));
    absl::StrAppend(page, "| ", name, " | ", StateText(step.state), " | ",
                    step.ended_ms == 0 ? "" : absl::FormatDuration(took), " | ", Cell(step.message),
                    " |\n");
  }
}

void AddScores(const json::object& gate, std::string* page) {
  const std::vector<json::object> exams = Objects(gate, "exams");
  if (exams.empty()) return;
  absl::StrAppend(page,
                  "\n## Right answers, with 95 % intervals\n\n| exam | questions | live | new | "
                  "change |\n|---|---|---|---|---|\n");
  for (const json::object& exam : exams) {
    absl::StrAppend(page, "| ", Cell(Text(exam, "name")), " | ", Number(exam, "questions"), " | ",
                    Share(Object(exam, "live")), " | ", Share(Object(exam, "new")), " | ",
                    Share(Object(exam, "change")), " |\n");
  }
}

void AddChanged(const json::object& gate, std::string* page) {
  std::string lines;
  for (const json::object& exam : Objects(gate, "exams")) {
    for (const json::object& answer : Objects(exam, "changed")) {
      absl::StrAppend(&lines, "| ", Cell(Text(answer, "question")), " | ",
                      Cell(Text(answer, "expected")), " | ", Cell(Text(answer, "live")), " | ",
                      Cell(Text(answer, "new")), " |\n");
    }
  }
  if (lines.empty()) return;
  absl::StrAppend(page, "\n## Answers that changed\n\n| question | expected | live | new |\n",
                  "|---|---|---|---|\n", lines);
}

bool Was(const StepRecords& steps, const std::string& name, StepState state) {
  const auto found = steps.find(name);
  return found != steps.end() && found->second.state == state;
}

std::string WhatBecameLatest(const Job& job, const StepRecords& steps, const std::string& folder) {
  const auto published = PublishedBy(job, steps, folder);
  if (!published) return "Nothing was published: the live version stays.";
  if (Was(steps, "canary", StepState::kRejected)) {
    return absl::StrCat("Published, and taken back by the server: ", published->version);
  }
  const bool kept = Was(steps, "publish", StepState::kRejected) ||
                    (!steps.contains("publish") && job.state != JobState::kSucceeded);
  return absl::StrCat(
      kept ? "Kept beside the live version, which stays: " : "Published as the latest: ",
      published->version);
}

}  // namespace

std::string NightReport(const Job& job, const StepRecords& steps, const std::string& folder) {
  const std::string output = OutputOf(job, folder);
  std::string page =
      absl::StrCat("# ", job.creator, ", job ", job.id, ": ", StateText(job.state), "\n\n");
  if (!job.message.empty()) absl::StrAppend(&page, Cell(job.message), "\n\n");
  absl::StrAppend(&page, WhatBecameLatest(job, steps, folder), "\n");
  AddData(job, folder, &page);
  AddSteps(steps, &page);
  if (const auto losses = Losses(output)) {
    absl::StrAppendFormat(&page, "\n## Loss\n\n%.4f at the first step, %.4f at the last\n",
                          losses->first, losses->last);
  }
  const json::object gate = ReadObject(output + "/gate.json");
  AddScores(gate, &page);
  AddChanged(gate, &page);
  return page;
}

std::string StepSummary(const std::string& step, const Job& job, const StepRecords& steps,
                        const std::string& folder) {
  if (step == "generate") return Generated(folder);
  if (step == "check") return Checked(folder);
  const std::string output = OutputOf(job, folder);
  if (step == "train") {
    const auto losses = Losses(output);
    if (!losses) return "";
    return absl::StrFormat("%d steps, loss %.4f at the first, %.4f at the last", losses->steps,
                           losses->first, losses->last);
  }
  if (step == "evaluate") return Scored(output);
  if (step == "gate") return "the required scores are reached";
  const auto published = PublishedBy(job, steps, folder);
  if (!published) return "";
  return absl::StrCat(step == "publish" ? "published " : "the server answers with ",
                      published->version);
}

std::string NightMessage(const Job& job, const StepRecords& steps, const std::string& folder) {
  const std::string output = OutputOf(job, folder);
  const JobInputs inputs = InputsOf(job);
  const Rows rows = CountRows(inputs);
  const auto published = PublishedBy(job, steps, folder);
  json::object message = {{"job", job.id},
                          {"trigger", job.creator},
                          {"state", StateText(job.state)},
                          {"message", Utf8Repair(job.message)},
                          {"version", published ? published->version : ""},
                          {"base", inputs.base_version},
                          {"new_rows", rows.fresh},
                          {"old_rows", rows.old},
                          {"captured_rows", inputs.captured},
                          {"captured_changed", inputs.captured_changed}};
  if (const auto losses = Losses(output)) message["loss"] = losses->last;
  json::array set_aside;
  for (const auto& [path, why] : inputs.set_aside) set_aside.emplace_back(Utf8Repair(path));
  message["set_aside"] = std::move(set_aside);
  json::array exams;
  for (const json::object& exam : Objects(ReadObject(output + "/gate.json"), "exams")) {
    json::object entry = {{"name", Text(exam, "name")}, {"questions", Number(exam, "questions")}};
    entry["new"] = Number(Object(exam, "new"), "share");
    if (exam.contains("live")) entry["live"] = Number(Object(exam, "live"), "share");
    exams.push_back(std::move(entry));
  }
  message["exams"] = std::move(exams);
  const auto canary = steps.find("canary");
  if (canary != steps.end() && canary->second.state != StepState::kSkipped) {
    message["canary"] = {{"state", StateText(canary->second.state)},
                         {"message", Utf8Repair(canary->second.message)}};
  }
  message["report"] = folder + "/report.md";
  return json::serialize(message);
}

}  // namespace llava::training
