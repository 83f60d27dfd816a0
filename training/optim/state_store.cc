#include "training/optim/state_store.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/network/tensor_files.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr char kStatePrefix[] = "step-";
constexpr char kUnfinishedPrefix[] = "unfinished-";
constexpr std::size_t kMaxStateJsonBytes = std::size_t{16} << 20;

std::string ToJson(const Progress& progress, int shards) {
  boost::json::object json;
  json["stage"] = progress.stage;
  json["step"] = progress.step;
  json["total_steps"] = progress.total_steps;
  json["optimizer_steps"] = progress.optimizer_steps;
  json["recipe_digest"] = progress.recipe_digest;
  json["shards"] = shards;
  json["random"] = boost::json::array(progress.random.begin(), progress.random.end());
  return boost::json::serialize(json);
}

absl::StatusOr<Progress> FromJson(const std::string& text) {
  try {
    const boost::json::value json = boost::json::parse(text);
    Progress progress;
    progress.stage = json.at("stage").to_number<std::int64_t>();
    progress.step = json.at("step").to_number<std::int64_t>();
    progress.total_steps = json.at("total_steps").to_number<std::int64_t>();
    progress.optimizer_steps = json.at("optimizer_steps").to_number<std::int64_t>();
    progress.recipe_digest = boost::json::value_to<std::string>(json.at("recipe_digest"));
    for (std::size_t i = 0; i < progress.random.size(); ++i) {
      progress.random[i] = json.at("random").at(i).to_number<std::uint64_t>();
    }
    return progress;
  } catch (const std::exception& e) {
    return absl::DataLossError(absl::StrCat("state.json: ", e.what()));
  }
}

// How many files a state that FromJson has read consists of.
int ShardsOf(const std::string& text) {
  const boost::json::value json = boost::json::parse(text);
  const boost::json::value* shards = json.as_object().if_contains("shards");
  return shards == nullptr ? 1 : shards->to_number<int>();
}

std::string ShardName(int shard, int shards) {
  if (shards == 1) return "tensors.safetensors";
  return absl::StrFormat("tensors-%05d-of-%05d.safetensors", shard + 1, shards);
}

}  // namespace

StateStore::StateStore(std::string folder, std::int64_t keep, Ranks& ranks)
    : folder_(std::move(folder)), keep_(keep), ranks_(ranks) {}

std::vector<std::string> StateStore::CompleteStates() const {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kStatePrefix)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());  // the step has a fixed number of digits
  return names;
}

absl::Status StateStore::Save(const Progress& progress,
                              const std::vector<model::NamedTensor>& tensors) {
  std::error_code error;
  fs::create_directories(folder_, error);
  const std::string name =
      absl::StrFormat("%s%012d-%03d", kStatePrefix, progress.total_steps, progress.stage);
  const std::string unfinished = absl::StrCat(folder_, "/", kUnfinishedPrefix, name);
  const std::string finished = absl::StrCat(folder_, "/", name);
  if (fs::exists(finished, error)) return absl::OkStatus();  // the same step is the same state
  if (ranks_.is_first()) {
    fs::remove_all(unfinished, error);
    if (!fs::create_directories(unfinished, error)) {
      return absl::UnavailableError(absl::StrCat("making ", unfinished, ": ", error.message()));
    }
  }
  RETURN_IF_ERROR(ranks_.Barrier());
  RETURN_IF_ERROR(model::SaveTensors(
      absl::StrCat(unfinished, "/", ShardName(ranks_.rank(), ranks_.size())), tensors));
  RETURN_IF_ERROR(ranks_.Barrier());
  if (!ranks_.is_first()) return absl::OkStatus();
  RETURN_IF_ERROR(WriteFile(unfinished + "/state.json", ToJson(progress, ranks_.size())));
  RETURN_IF_ERROR(RenameFile(unfinished, finished));
  RemoveOld();
  return absl::OkStatus();
}

void StateStore::RemoveOld() const {
  std::error_code error;
  std::vector<std::string> names = CompleteStates();
  const std::int64_t surplus = std::ssize(names) - keep_;
  for (std::int64_t i = 0; i < surplus; ++i) {
    // Renamed first: a removal that is cut short must not leave half a state behind.
    const std::string doomed = absl::StrCat(folder_, "/", kUnfinishedPrefix, names[i]);
    fs::rename(absl::StrCat(folder_, "/", names[i]), doomed, error);
  }
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    if (entry.path().filename().string().starts_with(kUnfinishedPrefix)) {
      fs::remove_all(entry.path(), error);
    }
  }
}

absl::StatusOr<std::optional<SavedState>> StateStore::LoadNewest() const {
  const std::vector<std::string> names = CompleteStates();
  if (names.empty()) return std::optional<SavedState>();
  const std::string state = absl::StrCat(folder_, "/", names.back());
  SavedState saved;
  ASSIGN_OR_RETURN(const std::string json, ReadFile(state + "/state.json", kMaxStateJsonBytes));
  absl::StatusOr<Progress> progress = FromJson(json);
  if (!progress.ok()) return Annotate(progress.status(), state);
  saved.progress = *std::move(progress);
  const int shards = ShardsOf(json);
  for (int shard = 0; shard < shards; ++shard) {
    ASSIGN_OR_RETURN(std::vector<model::NamedTensor> tensors,
                     model::LoadTensors(absl::StrCat(state, "/", ShardName(shard, shards))));
    saved.tensors.insert(saved.tensors.end(), tensors.begin(), tensors.end());
  }
  return std::optional<SavedState>(std::move(saved));
}

}  // namespace llava::training
