#include "training/optim/state_store.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/tensors/tensor_files.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr char kStatePrefix[] = "step-";
constexpr char kUnfinishedPrefix[] = "unfinished-";
constexpr char kStateFile[] = "/state.json";
constexpr char kChecksumSuffix[] = ".crc32";
constexpr std::size_t kMaxStateBytes = std::size_t{16} << 20;

std::string StateName(std::int64_t total_steps, std::int64_t stage) {
  return absl::StrFormat("%s%012d-%03d", kStatePrefix, total_steps, stage);
}

boost::json::object ToJson(const ValidationProgress& validation) {
  return {{"last_step", validation.last_step},
          {"best_step", validation.best_step},
          {"best_total_steps", validation.best_total_steps},
          {"best_loss", validation.best_loss},
          {"since_best", validation.since_best}};
}

// States of versions before there was validation have none.
ValidationProgress ValidationOf(const boost::json::object& state) {
  ValidationProgress validation;
  const boost::json::value* json = state.if_contains("validation");
  if (json == nullptr) return validation;
  validation.last_step = json->at("last_step").to_number<std::int64_t>();
  validation.best_step = json->at("best_step").to_number<std::int64_t>();
  validation.best_total_steps = json->at("best_total_steps").to_number<std::int64_t>();
  validation.best_loss = json->at("best_loss").to_number<double>();
  validation.since_best = json->at("since_best").to_number<std::int64_t>();
  return validation;
}

std::string ToJson(const Progress& progress, int shards) {
  boost::json::object json;
  json["stage"] = progress.stage;
  json["step"] = progress.step;
  json["total_steps"] = progress.total_steps;
  json["optimizer_steps"] = progress.optimizer_steps;
  json["recipe_digest"] = progress.recipe_digest;
  json["shards"] = shards;
  json["random"] = boost::json::array(progress.random.begin(), progress.random.end());
  json["validation"] = ToJson(progress.validation);
  json["kept_weights"] = boost::json::value_from(progress.kept_weights);
  return boost::json::serialize(json);
}

// A state's description.
struct StateJson {
  Progress progress;
  int shards = 1;  // files that its tensors are in
};

absl::StatusOr<StateJson> FromJson(const std::string& text) {
  try {
    const boost::json::value json = boost::json::parse(text);
    StateJson state;
    Progress& progress = state.progress;
    progress.stage = json.at("stage").to_number<std::int64_t>();
    progress.step = json.at("step").to_number<std::int64_t>();
    progress.total_steps = json.at("total_steps").to_number<std::int64_t>();
    progress.optimizer_steps = json.at("optimizer_steps").to_number<std::int64_t>();
    progress.recipe_digest = boost::json::value_to<std::string>(json.at("recipe_digest"));
    for (std::size_t i = 0; i < progress.random.size(); ++i) {
      progress.random[i] = json.at("random").at(i).to_number<std::uint64_t>();
    }
    progress.validation = ValidationOf(json.as_object());
    if (const auto* kept = json.as_object().if_contains("kept_weights")) {
      progress.kept_weights = boost::json::value_to<std::vector<std::string>>(*kept);
    }
    if (const auto* shards = json.as_object().if_contains("shards")) {
      state.shards = shards->to_number<int>();
    }
    return state;
  } catch (const std::exception& e) {
    return absl::DataLossError(absl::StrCat("state.json: ", e.what()));
  }
}

// Names, oldest first.
std::vector<std::string> CompleteStates(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kStatePrefix)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());  // the step has a fixed number of digits
  return names;
}

std::string ShardName(int shard, int shards) {
  if (shards == 1) return "tensors.safetensors";
  return absl::StrFormat("tensors-%05d-of-%05d.safetensors", shard + 1, shards);
}

// The CRC-32 of a file's bytes.
absl::StatusOr<std::uint32_t> ChecksumOf(const std::string& path) {
  ASSIGN_OR_RETURN(const FileDescriptor file, OpenRegularFile(path));
  std::string buffer(std::size_t{1} << 20, '\0');
  std::uint32_t sum = 0;
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, path);
    if (got == 0) return sum;
    sum = static_cast<std::uint32_t>(::crc32_z(sum, reinterpret_cast<const Bytef*>(buffer.data()),
                                               static_cast<std::size_t>(got)));
  }
}

absl::Status CheckSum(const std::string& path) {
  const std::string sidecar = path + kChecksumSuffix;
  if (!IsThere(sidecar)) return absl::OkStatus();  // of a state from before there were any
  ASSIGN_OR_RETURN(const std::string expected, ReadFile(sidecar, 64));
  ASSIGN_OR_RETURN(const std::uint32_t found, ChecksumOf(path));
  if (expected == absl::StrCat(found)) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, ": has CRC-32 ", found, ", ", expected, " was saved"));
}

absl::StatusOr<SavedState> Load(const std::string& state) {
  SavedState saved;
  ASSIGN_OR_RETURN(const std::string json, ReadFile(state + kStateFile, kMaxStateBytes));
  absl::StatusOr<StateJson> described = FromJson(json);
  if (!described.ok()) return Annotate(described.status(), state);
  saved.progress = std::move(described->progress);
  const int shards = described->shards;
  for (int shard = 0; shard < shards; ++shard) {
    const std::string path = absl::StrCat(state, "/", ShardName(shard, shards));
    RETURN_IF_ERROR(CheckSum(path));
    ASSIGN_OR_RETURN(std::vector<model::NamedTensor> tensors, model::LoadTensors(path));
    saved.tensors.insert(saved.tensors.end(), tensors.begin(), tensors.end());
  }
  return saved;
}

// In memory of the CPU; what comes from a GPU in pinned memory, to which it is copied faster.
std::vector<model::NamedTensor> Copies(const std::vector<model::NamedTensor>& tensors) {
  const at::NoGradGuard no_grad;
  std::vector<model::NamedTensor> copies;
  for (const auto& [name, tensor] : tensors) {
    const auto options = at::TensorOptions(tensor.scalar_type()).pinned_memory(tensor.is_cuda());
    copies.push_back({name, at::empty(tensor.sizes(), options).copy_(tensor)});
  }
  return copies;
}

}  // namespace

std::int64_t StagesBegun(const Progress& progress) {
  return progress.stage + (progress.step > 0 ? 1 : 0);
}

std::optional<Progress> NewestProgress(const std::string& folder) {
  std::vector<std::string> names = CompleteStates(folder);
  for (; !names.empty(); names.pop_back()) {
    const auto json = ReadFile(absl::StrCat(folder, "/", names.back(), kStateFile), kMaxStateBytes);
    if (!json.ok()) continue;
    absl::StatusOr<StateJson> described = FromJson(*json);
    if (described.ok()) return std::move(described->progress);
  }
  return std::nullopt;
}

StateStore::StateStore(std::string folder, std::int64_t keep, Ranks& ranks,
                       std::function<void(const std::string&)> on_message)
    : folder_(std::move(folder)), keep_(keep), ranks_(ranks), on_message_(std::move(on_message)) {}

StateStore::~StateStore() {
  {
    MutexLock lock(&mutex_);
    abandoned_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status StateStore::Save(const Progress& progress,
                              const std::vector<model::NamedTensor>& tensors,
                              const Before& before) {
  RETURN_IF_ERROR(Finish());
  RETURN_IF_ERROR(Start({progress, tensors, before}));
  return Finish();
}

absl::Status StateStore::Begin(const Progress& progress,
                               const std::vector<model::NamedTensor>& tensors,
                               const Before& before) {
  if (StateName(progress.total_steps, progress.stage) == begun_) return absl::OkStatus();
  RETURN_IF_ERROR(Finish());
  return Start({progress, Copies(tensors), before});
}

absl::Status StateStore::Start(Job job) {
  std::error_code error;
  fs::create_directories(folder_, error);
  const std::string name = StateName(job.progress.total_steps, job.progress.stage);
  const std::string unfinished = absl::StrCat(folder_, "/", kUnfinishedPrefix, name);
  for (const std::string& damaged : std::exchange(damaged_, {})) {
    if (ranks_.is_first()) {
      fs::rename(absl::StrCat(folder_, "/", damaged),
                 absl::StrCat(folder_, "/", kUnfinishedPrefix, damaged), error);
    }
  }
  RETURN_IF_ERROR(ranks_.Barrier());
  const std::string finished = absl::StrCat(folder_, "/", name);
  if (fs::exists(finished, error)) return absl::OkStatus();  // the same step is the same state
  if (ranks_.is_first()) {
    fs::remove_all(unfinished, error);
    if (!fs::create_directories(unfinished, error)) {
      return absl::UnavailableError(absl::StrCat("making ", unfinished, ": ", error.message()));
    }
  }
  RETURN_IF_ERROR(ranks_.Barrier());
  {
    MutexLock lock(&mutex_);
    written_ = false;
    all_written_ = ranks_.size() == 1;
    status_ = absl::OkStatus();
  }
  begun_ = name;
  thread_ = std::jthread([this, job = std::move(job)]() mutable { Write(std::move(job)); });
  return absl::OkStatus();
}

// The writing thread.
void StateStore::Write(Job job) {
  absl::Status status;
  try {
    status = WriteShare(job);
  } catch (const std::exception& error) {
    status = absl::ResourceExhaustedError(absl::StrCat("saving a state: ", error.what()));
  }
  {
    MutexLock lock(&mutex_);
    written_ = true;
    status_ = status;
    changed_.NotifyAll();
  }
  if (!status.ok() || !ranks_.is_first() || !MayComplete()) return;
  status = Complete(job.progress);
  MutexLock lock(&mutex_);
  status_ = status;
}

absl::Status StateStore::WriteShare(Job& job) const {
  RETURN_IF_ERROR(job.before());
  const std::string name = StateName(job.progress.total_steps, job.progress.stage);
  const std::string path = absl::StrCat(folder_, "/", kUnfinishedPrefix, name, "/",
                                        ShardName(ranks_.rank(), ranks_.size()));
  RETURN_IF_ERROR(model::SaveTensors(path, job.tensors));
  job.tensors.clear();
  ASSIGN_OR_RETURN(const std::uint32_t sum, ChecksumOf(path));
  return WriteFile(path + kChecksumSuffix, absl::StrCat(sum));
}

// Once every rank's share is there; false when nobody waits for that any more.
bool StateStore::MayComplete() {
  MutexLock lock(&mutex_);
  while (!all_written_ && !abandoned_) changed_.Wait(&mutex_);
  return all_written_;
}

absl::Status StateStore::Complete(const Progress& progress) const {
  const std::string name = StateName(progress.total_steps, progress.stage);
  const std::string unfinished = absl::StrCat(folder_, "/", kUnfinishedPrefix, name);
  RETURN_IF_ERROR(WriteFile(unfinished + kStateFile, ToJson(progress, ranks_.size())));
  RETURN_IF_ERROR(RenameFile(unfinished, absl::StrCat(folder_, "/", name)));
  RemoveOld(StateName(progress.validation.best_total_steps, progress.stage));
  return absl::OkStatus();
}

bool StateStore::written() const {
  MutexLock lock(&mutex_);
  return written_;
}

absl::Status StateStore::Advance(bool all_written) {
  MutexLock lock(&mutex_);
  if (all_written) {
    all_written_ = true;
    changed_.NotifyAll();
  }
  return status_;
}

absl::Status StateStore::Finish() {
  if (!thread_.joinable()) return absl::OkStatus();
  {
    MutexLock lock(&mutex_);
    while (!written_) changed_.Wait(&mutex_);
    RETURN_IF_ERROR(status_);
  }
  RETURN_IF_ERROR(ranks_.Barrier());
  RETURN_IF_ERROR(Advance(/*all_written=*/true));
  thread_.join();
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(status_);
  }
  return ranks_.Barrier();  // the first rank's thread has completed the state
}

void StateStore::RemoveOld(const std::string& but) const {
  std::error_code error;
  std::vector<std::string> names = CompleteStates(folder_);
  std::erase(names, but);
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

absl::StatusOr<SavedState> StateStore::LoadAt(std::int64_t total_steps, std::int64_t stage) const {
  return Load(absl::StrCat(folder_, "/", StateName(total_steps, stage)));
}

absl::StatusOr<std::optional<SavedState>> StateStore::LoadNewest() {
  std::vector<std::string> names = CompleteStates(folder_);
  absl::Status newest_error;
  for (; !names.empty(); names.pop_back()) {
    absl::StatusOr<SavedState> saved = Load(absl::StrCat(folder_, "/", names.back()));
    if (saved.ok()) return std::optional<SavedState>(*std::move(saved));
    damaged_.push_back(names.back());
    on_message_(absl::StrCat("the state ", folder_, "/", names.back(),
                             " is damaged, the one before is taken: ", saved.status().message()));
    newest_error.Update(saved.status());
  }
  if (newest_error.ok()) return std::optional<SavedState>();
  return Annotate(newest_error, absl::StrCat("no state in ", folder_,
                                             " reads: remove that folder to begin anew"));
}

}  // namespace llava::training
