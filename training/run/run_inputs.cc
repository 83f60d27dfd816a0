#include "training/run/run_inputs.h"

#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr char kInputsFile[] = "/inputs.json";
constexpr char kFinishedFile[] = "/finished.json";
constexpr char kPublishingFile[] = "/publishing.json";
constexpr std::size_t kMaxRecordBytes = std::size_t{256} << 20;
constexpr std::size_t kPiece = std::size_t{1} << 20;

using OnPiece = std::function<void(std::string_view)>;

absl::Status ReadPieces(const std::string& path, const OnPiece& on_piece) {
  ASSIGN_OR_RETURN(const FileDescriptor file, OpenRegularFile(path));
  std::string buffer(kPiece, '\0');
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, path);
    if (got == 0) return absl::OkStatus();
    on_piece(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
  }
}

absl::StatusOr<std::string> DigestOf(const std::string& path) {
  Sha256 hash;
  RETURN_IF_ERROR(ReadPieces(path, [&hash](std::string_view piece) { hash.Update(piece); }));
  return hash.Finish().Hex();
}

// The files of rows and labels that a stage reads.
std::vector<std::string> FilesOf(const StageOptions& stage) {
  if (stage.data.scenes.count > 0) return {};
  if (stage.objective != ObjectiveKind::kPatchLabels) return stage.data.files;
  return {stage.data.labels + "/patches.json", stage.data.labels + "/patches.u8"};
}

// Weights, configuration, tokenizer: they lie at the top; below are probes and other people's runs.
absl::Status AddModelFiles(const std::string& folder, std::vector<RunInput>* inputs) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::error_code unknown;
    const bool hidden = entry.path().filename().string().starts_with('.');
    if (!hidden && entry.is_regular_file(unknown)) names.push_back(entry.path().filename());
  }
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(std::string digest, DigestOf(absl::StrCat(folder, "/", name)));
    inputs->push_back({InputKind::kModel, 0, name, std::move(digest)});
  }
  return absl::OkStatus();
}

absl::Status AddDataFiles(const Recipe& recipe, std::vector<RunInput>* inputs) {
  std::map<std::string, std::string> digests;  // a file of several stages is read once
  for (std::int64_t stage = 0; stage < std::ssize(recipe.stages); ++stage) {
    for (const std::string& file : FilesOf(recipe.stages[stage])) {
      if (!digests.contains(file)) {
        ASSIGN_OR_RETURN(digests[file], DigestOf(file));
      }
      inputs->push_back({InputKind::kData, stage, file, digests[file]});
    }
    const std::string& held_out = recipe.stages[stage].validate.file;
    if (held_out.empty()) continue;
    absl::StatusOr<std::string> digest = DigestOf(held_out);
    if (!digest.ok()) return Annotate(digest.status(), "validate");
    inputs->push_back({InputKind::kData, stage, held_out, *std::move(digest)});
  }
  return absl::OkStatus();
}

// A digest is recognised by its length.
std::string Was(const std::string& value) {
  return absl::StrCat(value.size() == 64 ? "SHA-256 was " : "was ", value);
}

using Key = std::tuple<InputKind, std::int64_t, std::string>;

Key KeyOf(const RunInput& input) { return {input.kind, input.stage, input.name}; }

template <typename T>
absl::StatusOr<T> ReadRecord(const std::string& path,
                             const std::function<T(const json::value&)>& read) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxRecordBytes));
  try {
    return read(json::parse(text));
  } catch (const std::exception& e) {
    return absl::DataLossError(absl::StrCat(path, ": ", e.what()));
  }
}

// Replaces the file, all or nothing.
absl::Status WriteRecord(const std::string& path, const json::object& object) {
  const std::string aside = path + ".new";
  RETURN_IF_ERROR(WriteFile(aside, json::serialize(object) + "\n"));
  return RenameFile(aside, path);
}

std::string Text(const json::value& value, const char* key) {
  return json::value_to<std::string>(value.at(key));
}

absl::StatusOr<FinishedRun> ReadEnd(const std::string& path) {
  return ReadRecord<FinishedRun>(path, [](const json::value& value) {
    return FinishedRun{Text(value, "version"), Text(value, "dir"), Text(value, "rejected")};
  });
}

absl::Status WriteEnd(const FinishedRun& end, const std::string& path) {
  return WriteRecord(path,
                     {{"version", end.version}, {"dir", end.dir}, {"rejected", end.rejected}});
}

absl::Status Remove(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  return error ? absl::ErrnoToStatus(error.value(), path) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> DataFingerprint(const Recipe& recipe) {
  Sha256 sha;
  std::vector<std::string> seen;
  for (const StageOptions& stage : recipe.stages) {
    const ScenesOptions& scenes = stage.data.scenes;
    if (scenes.count > 0) {
      sha.Update(absl::StrCat("scenes ", scenes.level, " ", scenes.count, " ", scenes.turns, " ",
                              scenes.comparisons, " ", scenes.seed,
                              scenes.conversations ? " conversations\n" : "\n"));
    }
    for (const std::string& file : FilesOf(stage)) {
      if (std::find(seen.begin(), seen.end(), file) != seen.end()) continue;
      seen.push_back(file);
      RETURN_IF_ERROR(ReadPieces(file, [&sha](std::string_view piece) { sha.Update(piece); }));
    }
  }
  return sha.Finish().Hex();
}

absl::StatusOr<RunInputs> DescribeInputs(const Recipe& recipe) {
  RunInputs described;
  described.model =
      recipe.model.checkpoint.empty() ? recipe.model.from_scratch : recipe.model.checkpoint;
  const auto manifest = model::ReadManifest(described.model);
  if (manifest.ok()) described.parent = manifest->version;
  std::vector<RunInput>& inputs = described.inputs;
  inputs.push_back({InputKind::kCode, 0, "llava-train", LLAVA_VERSION});
  inputs.push_back({InputKind::kCode, 0, "LibTorch", TORCH_VERSION});
  for (const RecipeSetting& setting : recipe.settings) {
    const bool publishing = setting.stage == RecipeSetting::kPublishing;
    inputs.push_back({publishing ? InputKind::kEvaluation : InputKind::kRecipe,
                      publishing ? 0 : setting.stage, setting.name, setting.value});
  }
  RETURN_IF_ERROR(AddModelFiles(described.model, &inputs));
  RETURN_IF_ERROR(AddDataFiles(recipe, &inputs));
  std::vector<EvaluationOptions> exams = recipe.guards;
  exams.push_back(recipe.evaluation);
  for (const EvaluationOptions& exam : exams) {
    if (exam.file.empty()) continue;
    absl::StatusOr<std::string> digest = DigestOf(exam.file);
    if (!digest.ok()) return Annotate(digest.status(), "evaluate");
    inputs.push_back({InputKind::kEvaluation, 0, exam.file, *std::move(digest)});
  }
  ASSIGN_OR_RETURN(described.data_fingerprint, DataFingerprint(recipe));
  return described;
}

std::vector<InputChange> Changes(const RunInputs& was, const RunInputs& now, std::int64_t stages) {
  std::map<Key, std::string> before;
  for (const RunInput& input : was.inputs) {
    if (input.stage < stages) before[KeyOf(input)] = input.value;
  }
  const bool moved = was.model != now.model;
  bool other_model = false;
  std::vector<InputChange> changes;
  const auto add = [&](const Key& key, const std::string& what) {
    const auto& [kind, stage, name] = key;
    if (kind == InputKind::kModel && moved) {
      other_model = true;
      return;
    }
    const std::string folder = kind == InputKind::kModel ? now.model + "/" : "";
    changes.push_back({kind, absl::StrCat(folder, name, ": ", what)});
  };
  for (const RunInput& input : now.inputs) {
    if (input.stage >= stages) continue;
    const auto found = before.find(KeyOf(input));
    if (found == before.end()) {
      add(KeyOf(input), "is new");
      continue;
    }
    if (found->second != input.value) {
      add(KeyOf(input), absl::StrCat(Was(found->second), ", is ", input.value));
    }
    before.erase(found);
  }
  for (const auto& [key, value] : before) add(key, absl::StrCat(Was(value), ", is gone"));
  if (other_model) {
    changes.insert(changes.begin(),
                   {InputKind::kModel,
                    absl::StrCat("the model to begin with: was ", was.model, ", is ", now.model)});
  }
  return changes;
}

std::string TrainedDataFingerprint(const RunInputs& inputs) {
  if (inputs.earlier_data.empty()) return inputs.data_fingerprint;
  Sha256 sha;
  for (const std::string& earlier : inputs.earlier_data) sha.Update(absl::StrCat(earlier, "\n"));
  return sha.Update(inputs.data_fingerprint).Finish().Hex();
}

absl::StatusOr<RunInputs> ReadRunInputs(const std::string& folder) {
  return ReadRecord<RunInputs>(folder + kInputsFile, [](const json::value& value) {
    RunInputs inputs;
    inputs.model = Text(value, "model");
    inputs.parent = Text(value, "parent");
    inputs.data_fingerprint = Text(value, "data_fingerprint");
    inputs.earlier_data = json::value_to<std::vector<std::string>>(value.at("earlier_data"));
    for (const json::value& input : value.at("inputs").as_array()) {
      inputs.inputs.push_back({static_cast<InputKind>(input.at("kind").to_number<int>()),
                               input.at("stage").to_number<std::int64_t>(), Text(input, "name"),
                               Text(input, "value")});
    }
    return inputs;
  });
}

absl::Status WriteRunInputs(const RunInputs& inputs, const std::string& folder) {
  json::array list;
  for (const RunInput& input : inputs.inputs) {
    list.push_back({{"kind", static_cast<int>(input.kind)},
                    {"stage", input.stage},
                    {"name", input.name},
                    {"value", input.value}});
  }
  return WriteRecord(folder + kInputsFile, {{"model", inputs.model},
                                            {"parent", inputs.parent},
                                            {"data_fingerprint", inputs.data_fingerprint},
                                            {"earlier_data", json::value_from(inputs.earlier_data)},
                                            {"inputs", std::move(list)}});
}

absl::StatusOr<FinishedRun> ReadFinishedRun(const std::string& folder) {
  return ReadEnd(folder + kFinishedFile);
}

absl::Status WriteFinishedRun(const FinishedRun& finished, const std::string& folder) {
  RETURN_IF_ERROR(WriteEnd(finished, folder + kFinishedFile));
  return Remove(folder + kPublishingFile);
}

absl::StatusOr<FinishedRun> ReadPublishingRun(const std::string& folder) {
  return ReadEnd(folder + kPublishingFile);
}

absl::Status WritePublishingRun(const FinishedRun& coming, const std::string& folder) {
  return WriteEnd(coming, folder + kPublishingFile);
}

absl::Status ForgetFinishedRun(const std::string& folder) {
  RETURN_IF_ERROR(Remove(folder + kPublishingFile));
  return Remove(folder + kFinishedFile);
}

}  // namespace llava::training
