#include "training/service/trigger.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "boost/json.hpp"
#include "model/checkpoint/manifest.h"
#include "training/publish/publish.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxRecipeBytes = std::size_t{1} << 20;

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

// Paths as a YAML list; JSON strings are YAML.
std::string YamlList(const std::vector<std::string>& paths) {
  return absl::StrCat("[",
                      absl::StrJoin(paths, ", ",
                                    [](std::string* out, const std::string& path) {
                                      absl::StrAppend(
                                          out, boost::json::serialize(boost::json::value(path)));
                                    }),
                      "]");
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ListShards(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> shards;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string extension = entry.path().extension().string();
    const bool shard = extension == ".json" || extension == ".jsonl" || extension == ".gz";
    if (shard && entry.is_regular_file()) shards.push_back(fs::absolute(entry.path()).string());
  }
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  std::sort(shards.begin(), shards.end());
  return shards;
}

absl::StatusOr<std::string> FingerprintOf(const std::vector<std::string>& shards) {
  Sha256 hash;
  std::string buffer(std::size_t{1} << 20, '\0');
  for (const std::string& shard : shards) {
    std::ifstream file(shard, std::ios::binary);
    if (!file) return absl::NotFoundError(absl::StrCat(shard, ": cannot be opened"));
    while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || file.gcount()) {
      hash.Update(std::string_view(buffer.data(), static_cast<std::size_t>(file.gcount())));
    }
  }
  return hash.Finish().Hex();
}

absl::StatusOr<bool> Trigger::WasTrainedOn(const std::string& fingerprint) const {
  if (options_.published.empty() || !fs::exists(options_.published)) return false;
  ASSIGN_OR_RETURN(const std::vector<PublishedVersion> versions, ListVersions(options_.published));
  for (const PublishedVersion& version : versions) {
    const auto read = model::ReadManifest(version.dir);
    if (read.ok() && read->manifest.data_fingerprint == fingerprint) return true;
  }
  return false;
}

// A job that failed for the n-th time waits 2^(n-1) times as long.
bool Trigger::IsDue(const Job& failed, std::int64_t now_ms) const {
  if (failed.attempts > options_.retries) return false;
  const int doubled = std::clamp(failed.attempts - 1, 0, 20);
  return now_ms >= failed.ended_ms + (options_.retry_seconds * 1000 << doubled);
}

absl::Status Trigger::Create(const TriggerJobs& jobs,
                             const std::vector<std::string>& shards) const {
  ASSIGN_OR_RETURN(const std::string recipe, ReadFile(options_.recipe, kMaxRecipeBytes));
  return jobs.create(absl::StrReplaceAll(recipe, {{"${SHARDS}", YamlList(shards)}}), options_.name,
                     fingerprint_);
}

absl::Status Trigger::Look(const TriggerJobs& jobs, std::int64_t now_ms) {
  ASSIGN_OR_RETURN(const std::vector<std::string> shards, ListShards(options_.watch));
  std::vector<std::string> files = shards;
  if (!options_.trigger_file.empty()) {
    if (!fs::exists(options_.trigger_file)) return absl::OkStatus();
    files = {options_.trigger_file};
  }
  const std::string look = LookOf(files);
  const bool stable = std::exchange(seen_, look) == look;
  if (shards.empty() || !stable) return absl::OkStatus();
  const bool is_new = look != handled_;
  if (is_new) {
    ASSIGN_OR_RETURN(fingerprint_, FingerprintOf(shards));
  }
  ASSIGN_OR_RETURN(const std::optional<Job> job, jobs.find(fingerprint_));
  const bool failed = job && job->state == JobState::kFailed;
  if (failed ? IsDue(*job, now_ms) : is_new && !job) {
    ASSIGN_OR_RETURN(const bool trained, WasTrainedOn(fingerprint_));
    if (!trained) RETURN_IF_ERROR(failed ? jobs.retry(job->id) : Create(jobs, shards));
  }
  handled_ = look;
  return absl::OkStatus();
}

}  // namespace llava::training
