#include "training/publish/recorded_scores.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>

#include "training/publish/publish.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr char kTotal[] = "total";

std::optional<RecordedScores> ScoresIn(const std::string& dir,
                                       const model::Evaluation& evaluation) {
  const auto read = model::ReadManifest(dir);
  if (!read.ok()) return std::nullopt;
  const auto& all = read->manifest.evaluations;
  const auto same = std::find_if(all.begin(), all.end(), [&](const model::Evaluation& other) {
    return other.benchmark == evaluation.benchmark && other.judge == evaluation.judge &&
           other.data_fingerprint == evaluation.data_fingerprint;
  });
  if (same == all.end()) return std::nullopt;
  return RecordedScores{fs::path(dir).filename().string(), same->scores};
}

double TotalOf(const RecordedScores& recorded) {
  const auto total = recorded.scores.find(kTotal);
  return total == recorded.scores.end() ? 0 : total->second;
}

}  // namespace

std::vector<RecordedScores> ScoresBeside(const std::string& checkpoint,
                                         const model::Evaluation& evaluation) {
  std::error_code error;
  const fs::path dir = fs::canonical(checkpoint, error);
  if (error) return {};
  const auto own = model::ReadManifest(dir.string());
  const auto versions = ListVersions(dir.parent_path().string());
  if (!own.ok() || !versions.ok()) return {};
  std::optional<RecordedScores> parent;
  std::optional<RecordedScores> best;
  for (const PublishedVersion& version : *versions) {
    if (version.version == own->version) continue;
    std::optional<RecordedScores> recorded = ScoresIn(version.dir, evaluation);
    if (!recorded) continue;
    if (version.version == own->manifest.parent) parent = recorded;
    if (!best || TotalOf(*recorded) > TotalOf(*best)) best = recorded;
  }
  std::vector<RecordedScores> beside;
  if (parent) beside.push_back({"its parent " + parent->name, parent->scores});
  if (best && (!parent || best->name != parent->name)) {
    beside.push_back({"the best other " + best->name, best->scores});
  }
  return beside;
}

}  // namespace llava::training
