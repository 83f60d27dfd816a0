#include "training/run/opened_run.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/digest.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"
#include "training/data/captured_rows.h"
#include "training/data/picture_record.h"
#include "training/optim/state_store.h"
#include "training/publish/publish.h"
#include "training/recipe/run_folders.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostNamed = 10;

// What a run empties of its folder when it begins there, or later.
constexpr const char* kEmptied[] = {"/pictures", "/answers", "/adapters", "/checkpoint"};

std::string& ModelOf(Recipe& recipe) {
  return recipe.model.checkpoint.empty() ? recipe.model.from_scratch : recipe.model.checkpoint;
}

absl::StatusOr<std::string> Resolve(const std::string& folder) {
  std::error_code error;
  const fs::path resolved = fs::canonical(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  return resolved.string();
}

std::string Lines(const std::vector<InputChange>& changes) {
  std::vector<std::string> lines;
  for (const InputChange& change : changes) {
    if (lines.size() == kMostNamed) {
      lines.push_back(absl::StrCat("and ", changes.size() - kMostNamed, " more"));
      break;
    }
    lines.push_back(change.text);
  }
  return absl::StrJoin(lines, "\n  ");
}

void KeepOnly(std::vector<InputChange>* changes, const std::function<bool(InputKind)>& wanted) {
  std::erase_if(*changes, [&](const InputChange& change) { return !wanted(change.kind); });
}

absl::Status Remove(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? absl::ErrnoToStatus(error.value(), path) : absl::OkStatus();
}

capture::Wanted WantedOf(const CapturedOptions& captured) {
  return {.up = captured.up, .corrected = captured.corrected, .unrated = captured.unrated};
}

// Scenes take the place of rows, and labels of patches need none.
bool WantsCaptured(const StageOptions& stage) {
  return !stage.data.captured.dir.empty() && stage.data.scenes.count == 0 &&
         stage.objective == ObjectiveKind::kConversation;
}

// Stages that want the same share a folder.
std::string CapturedFolder(const Recipe& recipe, const CapturedOptions& captured) {
  const std::string wanted =
      absl::StrCat(captured.up, captured.corrected, captured.unrated, " ", captured.dir);
  return absl::StrCat(recipe.output, "/captured/", Sha256Of(wanted).Hex().substr(0, 8));
}

// What the stages want, each once.
std::vector<CapturedSource> SourcesOf(const Recipe& recipe) {
  std::map<std::string, CapturedSource> sources;
  for (const StageOptions& stage : recipe.stages) {
    if (!WantsCaptured(stage)) continue;
    const CapturedOptions& captured = stage.data.captured;
    const std::string folder = CapturedFolder(recipe, captured);
    sources[folder] = {captured.dir, WantedOf(captured), folder};
  }
  std::vector<CapturedSource> list;
  for (auto& [folder, source] : sources) list.push_back(std::move(source));
  return list;
}

bool HasRows(const std::string& folder) {
  std::error_code error;
  const auto bytes = fs::file_size(CapturedRowsFile(folder), error);
  return !error && bytes > 0;
}

// Opens one run; the lock is held.
class Opener {
 public:
  Opener(const Recipe& recipe, const OpenRunOptions& options) : given_(recipe), options_(options) {
    run_.recipe = recipe;
  }

  absl::StatusOr<OpenedRun> Open() {
    std::error_code error;
    fs::create_directories(given_.output, error);
    if (error) return absl::UnavailableError(absl::StrCat(given_.output, ": ", error.message()));
    ASSIGN_OR_RETURN(RunLock lock, RunLock::Take(given_.output));
    run_.lock = std::move(lock);
    run_.recipe.output = RunFolderOf(given_.output, NewestRun(given_.output));
    ASSIGN_OR_RETURN(linked_, Resolve(ModelOf(run_.recipe)));
    RETURN_IF_ERROR(OpenFolder());
    auto lease = model::VersionLease::Share(ModelOf(run_.recipe));
    if (lease.ok()) run_.lease = *std::move(lease);  // else it is no published version
    return std::move(run_);
  }

 private:
  absl::Status OpenFolder() {
    progress_ = NewestProgress(StateFolder(run_.recipe));
    if (!progress_) return Begin();
    absl::StatusOr<RunInputs> was = ReadRunInputs(run_.recipe.output);
    if (absl::IsNotFound(was.status())) return AdoptUnrecorded();
    RETURN_IF_ERROR(was.status());
    was_ = *std::move(was);
    absl::StatusOr<FinishedRun> finished = ReadFinishedRun(run_.recipe.output);
    if (absl::IsNotFound(finished.status())) finished = RecordWhatIsPublished();
    if (finished.ok()) return OpenFinished(*std::move(finished));
    if (!absl::IsNotFound(finished.status())) return finished.status();
    return GoOn();
  }

  // The record of a run that was killed when servers saw its version already. NOT_FOUND: they have
  // not seen it, or it was deleted since.
  absl::StatusOr<FinishedRun> RecordWhatIsPublished() const {
    const std::string& folder = run_.recipe.output;
    ASSIGN_OR_RETURN(FinishedRun coming, ReadPublishingRun(folder));
    const auto read = model::ReadManifest(coming.dir);
    if (!read.ok() || read->version != coming.version) {
      return absl::NotFoundError(absl::StrCat(coming.dir, ": is not the version of this run"));
    }
    if (coming.rejected.empty()) {
      ASSIGN_OR_RETURN(const bool seen, HasBeenLatest(run_.recipe.publish, coming.version));
      if (!seen) return absl::NotFoundError(absl::StrCat(coming.dir, ": was not the latest yet"));
    }
    RETURN_IF_ERROR(WriteFinishedRun(coming, folder));
    return coming;
  }

  absl::Status Begin() {
    ModelOf(run_.recipe) = linked_;
    std::error_code error;
    fs::create_directories(run_.recipe.output, error);
    if (error) return absl::ErrnoToStatus(error.value(), run_.recipe.output);
    if (!progress_) RETURN_IF_ERROR(CheckIsOurs());
    RETURN_IF_ERROR(TakeCapturedRows(run_.recipe, /*is_learned=*/true, options_.on_message));
    UseCapturedRows(&run_.recipe);
    ASSIGN_OR_RETURN(run_.inputs, DescribeInputs(run_.recipe));
    RETURN_IF_ERROR(Remove(PicturesFolder(run_.recipe)));  // of a run that saved no state
    if (!progress_) RETURN_IF_ERROR(ForgetEarlierRun());
    return WriteRunInputs(run_.inputs, run_.recipe.output);
  }

  // Nothing is emptied and no file replaced that no run has made: somebody's pictures, say, where
  // the run's folder is that of the data.
  absl::Status CheckIsOurs() const {
    const std::string& folder = run_.recipe.output;
    const absl::Status earlier = ReadRunInputs(folder).status();
    if (earlier.ok()) return absl::OkStatus();
    if (!absl::IsNotFound(earlier)) {
      return absl::FailedPreconditionError(absl::StrCat(
          earlier.message(), ": is no record of a run, which would be written there: give another ",
          "output than ", folder));
    }
    for (const char* name : kEmptied) {
      std::error_code error;
      if (!fs::exists(fs::symlink_status(folder + name, error))) continue;
      return absl::FailedPreconditionError(
          absl::StrCat(folder, name, ": was not made by a run, which would keep files of its own ",
                       "there: give another output than ", folder));
    }
    return absl::OkStatus();
  }

  // What is left of a run whose states somebody has removed speaks of other weights: how it ended,
  // and what they answered.
  absl::Status ForgetEarlierRun() const {
    const std::string& folder = run_.recipe.output;
    for (const char* name : kEmptied) RETURN_IF_ERROR(Remove(folder + name));
    RETURN_IF_ERROR(Remove(folder + "/gate.json"));
    return ForgetFinishedRun(folder);
  }

  // States of a version that recorded nothing.
  absl::Status AdoptUnrecorded() {
    if (!options_.accept_changed_data) {
      return absl::FailedPreconditionError(absl::StrCat(
          StateFolder(run_.recipe),
          ": was saved without a record of its inputs (inputs.json), so nobody can tell whether "
          "model and data are still the same: give another output, or --accept-changed-data to go "
          "on and record what is there now"));
    }
    options_.on_message(absl::StrCat(run_.recipe.output,
                                     ": inputs are recorded as they are now, which is accepted"));
    return Begin();
  }

  bool IsTrained() const { return progress_->stage >= std::ssize(given_.stages); }

  absl::StatusOr<std::vector<InputChange>> ChangedPictures() const {
    ASSIGN_OR_RETURN(const std::shared_ptr<PictureRecord> record,
                     PictureRecord::Open(PicturesFolder(run_.recipe), 0, false));
    std::vector<InputChange> changes;
    for (const std::string& line : record->Changes(kMostNamed)) {
      changes.push_back({InputKind::kData, line});
    }
    RETURN_IF_ERROR(record->Save());
    return changes;
  }

  // Captured rows that a run which began now would take, where they are others by now.
  absl::StatusOr<std::vector<InputChange>> ChangedCaptures() const {
    std::vector<InputChange> changes;
    for (const CapturedSource& source : SourcesOf(run_.recipe)) {
      const absl::StatusOr<Digest> now = DigestOfCaptured(source.dir, source.wanted);
      if (absl::IsNotFound(now.status())) continue;  // nothing is captured there any more
      RETURN_IF_ERROR(now.status());
      const std::string file = CapturedRowsFile(source.folder);
      std::string was = Sha256Of("").Hex();  // no row was taken, and so no file of them used
      for (const RunInput& input : was_.inputs) {
        if (input.kind == InputKind::kData && input.name == file) was = input.value;
      }
      if (was == now->Hex()) continue;
      changes.push_back({InputKind::kData, absl::StrCat(source.dir, ": captured rows: SHA-256 was ",
                                                        was, ", is ", now->Hex())});
    }
    return changes;
  }

  absl::Status GoOn() {
    std::error_code error;
    if (!fs::is_directory(was_.model, error)) {
      return absl::FailedPreconditionError(
          absl::StrCat(run_.recipe.output, ": this run began with the model ", was_.model,
                       ", which is not there any more: put it back, or give another output"));
    }
    if (linked_ != was_.model) {
      options_.on_message(absl::StrCat(ModelOf(run_.recipe), ": names ", linked_,
                                       " now; this run goes on with ", was_.model,
                                       ", which it began with"));
    }
    ModelOf(run_.recipe) = was_.model;
    UseCapturedRows(&run_.recipe);
    ASSIGN_OR_RETURN(RunInputs now, DescribeInputs(run_.recipe));
    std::vector<InputChange> changes = Changes(was_, now, StagesBegun(*progress_));
    ASSIGN_OR_RETURN(std::vector<InputChange> data, ChangedPictures());
    std::copy_if(changes.begin(), changes.end(), std::back_inserter(data),
                 [](const InputChange& change) { return change.kind == InputKind::kData; });
    KeepOnly(&changes, [](InputKind kind) {
      return kind != InputKind::kData && kind != InputKind::kEvaluation;
    });
    if (options_.accept_changed_code || IsTrained()) {
      KeepOnly(&changes, [](InputKind kind) { return kind != InputKind::kCode; });
    }
    if (!IsTrained() && !options_.accept_changed_data) {
      changes.insert(changes.end(), data.begin(), data.end());
    }
    if (!changes.empty()) return Refuse(changes);
    Record(std::move(now), data);
    return WriteRunInputs(run_.inputs, run_.recipe.output);
  }

  absl::Status Refuse(const std::vector<InputChange>& changes) const {
    std::string text = absl::StrCat(
        run_.recipe.output, ": goes on only with what its saved steps were trained with, but\n  ",
        Lines(changes), "\nGive another output to begin anew");
    const auto has = [&](InputKind kind) {
      return std::any_of(changes.begin(), changes.end(),
                         [&](const InputChange& change) { return change.kind == kind; });
    };
    if (has(InputKind::kData)) absl::StrAppend(&text, ", or --accept-changed-data to go on");
    if (has(InputKind::kCode)) absl::StrAppend(&text, ", or --accept-changed-code to go on");
    return absl::FailedPreconditionError(text);
  }

  void Record(RunInputs now, const std::vector<InputChange>& data) {
    run_.inputs = std::move(now);
    run_.inputs.earlier_data = was_.earlier_data;
    if (data.empty()) return;
    if (IsTrained()) {  // what lies there now was not trained on
      run_.inputs.data_fingerprint = was_.data_fingerprint;
      const auto is_data = [](const RunInput& input) { return input.kind == InputKind::kData; };
      std::erase_if(run_.inputs.inputs, is_data);
      std::copy_if(was_.inputs.begin(), was_.inputs.end(), std::back_inserter(run_.inputs.inputs),
                   is_data);
      return;
    }
    options_.on_message("accepted: " + Lines(data));
    if (run_.inputs.data_fingerprint != was_.data_fingerprint) {
      run_.inputs.earlier_data.push_back(was_.data_fingerprint);
    }
  }

  absl::Status OpenFinished(FinishedRun finished) {
    const auto own = Resolve(finished.dir);
    const bool names_its_result = own.ok() && *own == linked_;
    const std::string folder = run_.recipe.output;
    Recipe next = run_.recipe;
    ModelOf(next) = linked_;
    UseCapturedRows(&next);
    ASSIGN_OR_RETURN(const RunInputs now, DescribeInputs(next));
    std::vector<InputChange> changes = Changes(was_, now, StagesBegun(*progress_));
    const bool publishing = std::any_of(
        changes.begin(), changes.end(),
        [](const InputChange& change) { return change.kind == InputKind::kEvaluation; });
    KeepOnly(&changes, [&](InputKind kind) {
      return kind == InputKind::kRecipe || kind == InputKind::kData ||
             (kind == InputKind::kModel && !names_its_result);
    });
    ASSIGN_OR_RETURN(const std::vector<InputChange> pictures, ChangedPictures());
    changes.insert(changes.end(), pictures.begin(), pictures.end());
    ASSIGN_OR_RETURN(const std::vector<InputChange> captured, ChangedCaptures());
    changes.insert(changes.end(), captured.begin(), captured.end());
    if (!changes.empty()) {
      run_.recipe.output = RunFolderOf(given_.output, NewestRun(given_.output) + 1);
      options_.on_message(absl::StrCat(folder, ": holds a finished run of other inputs:\n  ",
                                       Lines(changes), "\nA new run begins in ",
                                       run_.recipe.output));
      return Begin();
    }
    if (IsTrained() && !publishing) {
      run_.inputs = was_;
      ModelOf(run_.recipe) = was_.model;
      run_.finished = std::move(finished);
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(ForgetFinishedRun(folder));
    return GoOn();
  }

  const Recipe& given_;
  const OpenRunOptions& options_;
  OpenedRun run_;
  std::string linked_;  // what the recipe's model names now
  std::optional<Progress> progress_;
  RunInputs was_;
};

}  // namespace

absl::Status TakeCapturedRows(const Recipe& recipe, bool is_learned,
                              const std::function<void(const std::string&)>& on_message) {
  const std::vector<CapturedSource> sources = SourcesOf(recipe);
  const std::string run = is_learned ? fs::absolute(recipe.output).lexically_normal().string() : "";
  ASSIGN_OR_RETURN(const std::vector<capture::Choice> choices, TakeCaptured(run, sources));
  for (std::size_t i = 0; i < sources.size(); ++i) {
    on_message(absl::StrCat(sources[i].dir, ": ", ToText(choices[i])));
  }
  for (const StageOptions& stage : recipe.stages) {
    const CapturedOptions& captured = stage.data.captured;
    if (!WantsCaptured(stage) || !stage.data.files.empty()) continue;
    if (HasRows(CapturedFolder(recipe, captured))) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("stage ", stage.name, ": data.captured: ", captured.dir,
                     " has no closed shard with a row of the wanted verdicts, and the stage has no "
                     "other files"));
  }
  return absl::OkStatus();
}

void UseCapturedRows(Recipe* recipe) {
  for (StageOptions& stage : recipe->stages) {
    if (!WantsCaptured(stage)) continue;
    DataOptions& data = stage.data;
    const std::string folder = CapturedFolder(*recipe, data.captured);
    if (!HasRows(folder)) continue;
    data.file_images.resize(data.files.size());
    if (data.weights.empty()) data.weights.resize(data.files.size(), 1.0);
    data.files.push_back(CapturedRowsFile(folder));
    data.file_images.push_back(CapturedPictures(folder));
    data.weights.push_back(data.captured.weight);
  }
}

std::vector<std::pair<std::string, std::string>> CapturedFolders(const Recipe& recipe) {
  std::vector<std::pair<std::string, std::string>> folders;
  for (const CapturedSource& source : SourcesOf(recipe)) {
    folders.emplace_back(source.dir, source.folder);
  }
  return folders;
}

std::string PicturesFolder(const Recipe& recipe) { return recipe.output + "/pictures"; }

std::string StateFolder(const Recipe& recipe) { return recipe.output + "/state"; }

absl::StatusOr<OpenedRun> OpenRun(const Recipe& recipe, const OpenRunOptions& options) {
  return Opener(recipe, options).Open();
}

absl::StatusOr<OpenedRun> JoinRun(const Recipe& recipe) {
  OpenedRun run;
  run.recipe = recipe;
  run.recipe.output = RunFolderOf(recipe.output, NewestRun(recipe.output));
  absl::StatusOr<RunInputs> inputs = ReadRunInputs(run.recipe.output);
  if (absl::IsNotFound(inputs.status())) return run;  // no run, or one without a record
  RETURN_IF_ERROR(inputs.status());
  run.inputs = *std::move(inputs);
  ModelOf(run.recipe) = run.inputs.model;
  UseCapturedRows(&run.recipe);
  absl::StatusOr<FinishedRun> finished = ReadFinishedRun(run.recipe.output);
  if (finished.ok()) run.finished = *std::move(finished);
  return run;
}

}  // namespace llava::training
