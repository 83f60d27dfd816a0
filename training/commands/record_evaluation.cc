#include "training/commands/record_evaluation.h"

#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"
#include "training/publish/file_layer.h"
#include "training/publish/publish.h"
#include "training/publish/recorded_scores.h"
#include "training/report/score_svg.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

// One file, below the same name.
absl::Status LinkOrCopy(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to.parent_path(), error);
  fs::create_hard_link(from, to, error);
  if (error) {
    error.clear();
    fs::copy_file(from, to, error);
  }
  return error ? absl::ErrnoToStatus(error.value(), to.string()) : absl::OkStatus();
}

absl::Status LinkAll(const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(const std::vector<model::ManifestFile> files, model::DescribeFiles(from));
  for (const model::ManifestFile& file : files) {
    RETURN_IF_ERROR(LinkOrCopy(fs::path(from) / file.path, fs::path(to) / file.path));
  }
  return absl::OkStatus();
}

void Add(model::Evaluation evaluation, model::Manifest* manifest) {
  std::erase_if(manifest->evaluations, [&](const model::Evaluation& other) {
    return other.benchmark == evaluation.benchmark && other.judge == evaluation.judge &&
           other.data_fingerprint == evaluation.data_fingerprint;
  });
  if (manifest->evaluation.empty()) manifest->evaluation = evaluation.scores;
  manifest->evaluations.push_back(std::move(evaluation));
}

}  // namespace

absl::StatusOr<std::string> RecordEvaluation(const std::string& checkpoint, const std::string& root,
                                             const EvaluationReport& report) {
  if (report.fingerprint.empty()) {
    return absl::FailedPreconditionError("answers from a file cannot be recorded");
  }
  std::error_code error;
  const std::string dir = fs::canonical(checkpoint, error).string();
  if (error) return absl::ErrnoToStatus(error.value(), checkpoint);
  model::Manifest manifest;
  const auto version = model::ReadManifest(dir);
  if (version.ok()) {
    manifest = version->manifest;
  } else if (!absl::IsNotFound(version.status())) {
    return version.status();
  }
  Add({report.bench, report.fingerprint, report.judge, report.questions, report.scores}, &manifest);
  RealFiles files;
  const auto say = [](const std::string& line) {
    std::fprintf(stderr, "llava-train: %s\n", line.c_str());
  };
  const auto link = [&](const std::string& to) { return LinkAll(dir, to); };
  ASSIGN_OR_RETURN(const PublishedVersion published,
                   Publish(
                       root, std::move(manifest), link, files,
                       [](const PublishedVersion&) { return absl::OkStatus(); }, say));
  return published.dir;
}

absl::Status DrawScores(const std::string& checkpoint, const std::string& out,
                        const EvaluationReport& report) {
  if (out.empty() || report.scores.empty()) return absl::OkStatus();
  std::vector<ScoredModel> models = {{"this: " + report.model, report.scores}};
  const model::Evaluation same{report.bench, report.fingerprint, report.judge, 0, {}};
  for (RecordedScores& beside : ScoresBeside(checkpoint, same)) {
    models.push_back({std::move(beside.name), std::move(beside.scores)});
  }
  const std::string title = absl::StrCat(report.bench, ", ", report.questions, " questions");
  return WriteFile(out + "/scores.svg", ScoreSvg(title, report.bench == "mme" ? 1 : 100, models));
}

}  // namespace llava::training
