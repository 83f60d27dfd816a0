#include "training/run/run.h"

#include <ATen/core/grad_mode.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/command_line/version.h"
#include "base/durable_file.h"
#include "base/field_error.h"
#include "base/json_reader.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "model/checkpoint/weight_names.h"
#include "model/tensors/tensor_files.h"
#include "training/data/picture_record.h"
#include "training/objective/random_weights.h"
#include "training/optim/adapters.h"
#include "training/optim/saved_tensors.h"
#include "training/optim/state_store.h"
#include "training/optim/trainer.h"
#include "training/run/device.h"
#include "training/run/opened_run.h"
#include "training/run/publish_run.h"
#include "training/run/run_folder.h"
#include "training/run/run_lock.h"
#include "training/run/sample_answers.h"
#include "training/run/stage_data.h"
#include "training/tracking/run_record.h"
#include "training/tracking/tracker.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

at::ScalarType DTypeOf(Precision precision) {
  return precision == Precision::kFloat32 ? at::kFloat : at::kBFloat16;
}

// What is published is a Hugging Face folder, and its prompts are what must be learnt.
absl::Status CheckLayout(const std::string& folder) {
  ASSIGN_OR_RETURN(const auto config, ReadJsonObject(folder + "/config.json"));
  if (!config.contains("mm_vision_tower")) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(folder,
                   ": has the original layout, which is not trained as it is: first "
                   "llava-train convert ",
                   folder, " --out FOLDER, then model.checkpoint: FOLDER"));
}

model::Quantization QuantizationOf(BaseWeights weights) {
  switch (weights) {
    case BaseWeights::kInt8:
      return model::Quantization::kInt8;
    case BaseWeights::kInt4:
      return model::Quantization::kInt4;
    case BaseWeights::kNumbers:
      break;
  }
  return model::Quantization::kNone;
}

absl::Status CheckAdapters(model::Llava& model, const Recipe& recipe) {
  for (const StageOptions& stage : recipe.stages) {
    RETURN_IF_ERROR(Annotate(CheckTargets(model, stage.lora), "stage " + stage.name));
  }
  return absl::OkStatus();
}

}  // namespace

std::string AdaptersFile(const Recipe& recipe, std::int64_t stage) {
  return absl::StrCat(recipe.output, "/adapters/stage-", stage, ".safetensors");
}

const std::string& ModelFolder(const Recipe& recipe) {
  return recipe.model.checkpoint.empty() ? recipe.model.from_scratch : recipe.model.checkpoint;
}

absl::StatusOr<std::unique_ptr<model::Llava>> LoadTrainingModel(const Recipe& recipe,
                                                                at::Device device) {
  const at::ScalarType dtype = DTypeOf(recipe.precision);
  RETURN_IF_ERROR(CheckLayout(ModelFolder(recipe)));
  if (!recipe.model.checkpoint.empty()) {
    model::LoadOptions options;
    options.dtype = dtype;
    options.device = device;
    options.quantization = QuantizationOf(recipe.model.weights);
    ASSIGN_OR_RETURN(auto model, model::Llava::Load(recipe.model.checkpoint, options));
    RETURN_IF_ERROR(CheckAdapters(*model, recipe));
    return model;
  }
  ASSIGN_OR_RETURN(const model::LlavaConfig config, model::ReadConfig(recipe.model.from_scratch));
  RandomWeights weights(recipe.seed, dtype, device);
  auto model = std::make_unique<model::Llava>(config, weights);
  RETURN_IF_ERROR(CheckAdapters(*model, recipe));
  return model;
}

absl::StatusOr<std::unique_ptr<model::Llava>> LoadTrainedModel(const Recipe& recipe) {
  Recipe numbers = recipe;
  numbers.model.weights = BaseWeights::kNumbers;
  ASSIGN_OR_RETURN(std::unique_ptr<model::Llava> model, LoadTrainingModel(numbers, at::kCPU));
  Ranks alone;
  ASSIGN_OR_RETURN(const std::optional<SavedState> saved,
                   StateStore(StateFolder(recipe), recipe.keep, alone).LoadNewest());
  if (!saved.has_value()) {
    return absl::NotFoundError(absl::StrCat(StateFolder(recipe), ": no saved state"));
  }
  RETURN_IF_ERROR(RestoreWeights(*saved, recipe, *model));
  const std::int64_t last = std::ssize(recipe.stages) - 1;
  const LoraOptions& lora = recipe.stages[last].lora;
  const bool is_over = saved->progress.stage > last;
  if (recipe.model.weights != BaseWeights::kNumbers && lora.rank > 0 && is_over) {
    // No weight that was trained beside codes has the adapters in it.
    ASSIGN_OR_RETURN(const auto adapters, model::LoadTensors(AdaptersFile(recipe, last)));
    RETURN_IF_ERROR(AddAdapters(adapters, lora, *model));
  }
  return model;
}

namespace {

// What a step that taught nothing had instead.
void SayIfEmpty(const StepReport& report, const RunOptions& options) {
  if (report.targets != 0) return;
  const std::string where = absl::StrCat("stage ", report.stage, ", step ", report.step, ": ");
  const std::string bad =
      report.stats.bad > 0 ? absl::StrCat(report.stats.bad, " rows are bad") : "";
  const std::string masked =
      report.stats.masked > 0
          ? absl::StrCat("every label of ", report.stats.masked, " samples is masked")
          : "";
  options.on_message(absl::StrCat(where, bad, bad.empty() || masked.empty() ? "" : ", ", masked,
                                  ": it teaches nothing"));
}

// The first rank opens the run, the others see what it has opened.
absl::StatusOr<OpenedRun> OpenOnRank(const Recipe& recipe, const RunOptions& options,
                                     Ranks& ranks) {
  if (ranks.is_first()) {
    OpenRunOptions open;
    open.accept_changed_data = options.accept_changed_data;
    open.accept_changed_code = options.accept_changed_code;
    open.on_message = options.on_message;
    ASSIGN_OR_RETURN(OpenedRun run, OpenRun(recipe, open));
    RETURN_IF_ERROR(ranks.Barrier());
    return run;
  }
  RETURN_IF_ERROR(ranks.Barrier());
  return JoinRun(recipe);
}

void Say(const FinishedRun& finished, const RunOptions& options) {
  if (finished.rejected.empty()) {
    options.on_message(absl::StrCat("published ", finished.dir));
    return;
  }
  options.on_message(
      absl::StrCat("rejected, the latest version stays: ", finished.rejected,
                   finished.dir.empty() ? "" : absl::StrCat("; kept in ", finished.dir)));
}

// Writes what the adapters of a stage have learned, with the projector where it was trained too.
absl::Status KeepAdapters(const Recipe& recipe, std::int64_t stage,
                          std::vector<model::NamedTensor> learned, const model::Llava& model) {
  const auto end = recipe.stages.begin() + stage + 1;
  const bool projector = std::any_of(recipe.stages.begin(), end, [](const StageOptions& earlier) {
    return earlier.train_projector;
  });
  for (const auto& [name, weight] : model.weights()) {
    if (projector && name.starts_with(model::kProjectorPrefix)) learned.push_back({name, weight});
  }
  const std::string file = AdaptersFile(recipe, stage);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(file).parent_path(), error);
  RETURN_IF_ERROR(model::SaveTensors(file + ".new", learned));
  return RenameFile(file + ".new", file);
}

// Trains; where it ended.
absl::StatusOr<Progress> Train(const OpenedRun& run, model::Llava& model, const Clock& clock,
                               const RunOptions& options, Ranks& ranks) {
  const Recipe& recipe = run.recipe;
  ASSIGN_OR_RETURN(
      std::shared_ptr<PictureRecord> pictures,
      PictureRecord::Open(PicturesFolder(recipe), ranks.rank(), options.accept_changed_data));
  StageData data(run, model, ranks, clock, options.on_message, pictures);
  const std::optional<Progress> before = NewestProgress(StateFolder(recipe));
  RETURN_IF_ERROR(data.CheckAll(before ? before->stage : 0));
  StateStore store(StateFolder(recipe), recipe.keep, ranks, options.on_message);
  RunFolder folder(recipe.name, recipe.output, clock, options.on_message);
  TrainerHooks hooks;
  hooks.make_objective = [&](const StageOptions& stage, std::int64_t first_step) {
    options.on_critical(false);  // opening data may take long, and nothing is lost by ending it
    absl::StatusOr<std::unique_ptr<Objective>> objective = data.Make(stage, first_step);
    options.on_critical(true);
    return objective;
  };
  hooks.make_validation = [&](const StageOptions& stage) {
    options.on_critical(false);
    absl::StatusOr<std::unique_ptr<Validation>> validation = data.MakeValidation(stage);
    options.on_critical(true);
    return validation;
  };
  hooks.on_validation = [&](ValidationReport report) {
    if (!ranks.is_first()) return;
    report.samples = AskSamples(model, ModelFolder(recipe), data.questions(), options.stop);
    folder.Add(report);
    options.on_validation(report);
  };
  hooks.on_adapters = [&](const StageOptions& stage, std::vector<model::NamedTensor> learned) {
    if (!ranks.is_first()) return absl::OkStatus();
    return KeepAdapters(recipe, &stage - recipe.stages.data(), std::move(learned), model);
  };
  hooks.before_save = [&pictures] { return pictures->Save(); };
  hooks.on_step = [&](const StepReport& report) {
    if (!ranks.is_first()) return;
    folder.Add(report);
    options.on_step(report);
    SayIfEmpty(report, options);
  };
  hooks.stop = options.stop;
  Trainer trainer(recipe, model, store, ranks, clock, std::move(hooks));
  const absl::Status trained = trainer.Run();
  // Who is stopped ends now, and says so to who is told of the run.
  if (!absl::IsCancelled(trained)) options.on_critical(false);
  if (ranks.is_first()) folder.DrawLoss();
  RETURN_IF_ERROR(trained);
  return trainer.progress();
}

// What a tracking server shows of a run beside its parameters and curves.
constexpr char kCheckpointTag[] = "llava.checkpoint";
constexpr char kRejectedTag[] = "llava.rejected";
constexpr char kErrorTag[] = "llava.error";

// Who tells a server of the run; one process at a time.
struct Tracking {
  std::optional<RunLock> lock;
  std::unique_ptr<Tracker> tracker;
};

absl::StatusOr<Tracking> OpenTracking(const OpenedRun& run, const Clock& clock,
                                      const RunOptions& options) {
  const Recipe& recipe = run.recipe;
  ASSIGN_OR_RETURN(RunRecord record, OpenRecord(recipe.output, recipe.mlflow, clock));
  if (record.options.run_name.empty()) record.options.run_name = ToTag(recipe.name);
  record.params = ToParams(FlatRecipe(recipe));
  record.tags["llava.version"] = std::string(Version());
  record.tags["llava.data_fingerprint"] = TrainedDataFingerprint(run.inputs);
  record.tags["llava.parent"] = run.inputs.parent;
  record.tags["mlflow.source.name"] = "llava-train";
  record.tags["mlflow.source.type"] = "JOB";
  record.tags["mlflow.source.git.commit"] = std::string(Commit());
  if (!run.finished) record.status = kRunning;
  RETURN_IF_ERROR(WriteRunRecord(record, recipe.output));  // and the folder for the lock
  Tracking tracking;
  ASSIGN_OR_RETURN(RunLock lock, RunLock::Take(TrackingFolder(recipe.output)));
  tracking.lock = std::move(lock);
  tracking.tracker =
      std::make_unique<Tracker>(recipe.output, std::move(record), clock, options.on_message);
  return tracking;
}

// Nothing that goes wrong with it ends the run.
Tracking StartTracking(const OpenedRun& run, const Clock& clock, const RunOptions& options) {
  absl::StatusOr<Tracking> tracking = OpenTracking(run, clock, options);
  if (tracking.ok()) return *std::move(tracking);
  options.on_message(
      absl::StrCat("MLflow is not told of this run: ", MessageOf(tracking.status())));
  return Tracking();
}

void FinishTracking(const Tracking& tracking, const absl::StatusOr<FinishedRun>& ended) {
  if (tracking.tracker == nullptr) return;
  std::map<std::string, std::string> tags{{kErrorTag, ""}, {kRejectedTag, ""}};
  if (ended.ok()) {
    tags[kRejectedTag] = ToTag(ended->rejected);
    if (!ended->version.empty()) tags[kCheckpointTag] = ended->version;
    tracking.tracker->Finish(kFinished, tags);
  } else if (absl::IsCancelled(ended.status())) {
    tracking.tracker->Finish(kKilled, tags);
  } else {
    tags[kErrorTag] = ToTag(std::string(ended.status().message()));
    tracking.tracker->Finish(kFailed, tags);
  }
}

absl::StatusOr<FinishedRun> RunOpened(const OpenedRun& run, const Clock& clock,
                                      const RunOptions& options, at::Device device, Ranks& ranks) {
  if (run.finished) {
    options.on_message(absl::StrCat(run.recipe.output, ": this run has finished"));
    Say(*run.finished, options);
    return *run.finished;
  }
  ASSIGN_OR_RETURN(std::unique_ptr<model::Llava> model, LoadTrainingModel(run.recipe, device));
  ASSIGN_OR_RETURN(const Progress progress, Train(run, *model, clock, options, ranks));
  if (!ranks.is_first() || options.until == RunUntil::kTrained) return FinishedRun();
  if (run.recipe.model.weights != BaseWeights::kNumbers) {
    model.reset();
    ASSIGN_OR_RETURN(model, LoadTrainedModel(run.recipe));
  }
  if (options.until == RunUntil::kEvaluated) {
    ASSIGN_OR_RETURN(const FinishedRun judged,
                     JudgeRun(run.recipe, run.inputs, *model, progress, options.on_message));
    options.on_message(judged.rejected.empty() ? "good enough to be published"
                                               : absl::StrCat("rejected: ", judged.rejected));
    return judged;
  }
  const PublishRunOptions publish{options.on_message, [&options] { options.on_critical(true); },
                                  options.rejected};
  ASSIGN_OR_RETURN(const FinishedRun finished,
                   PublishRun(run.recipe, run.inputs, *model, progress, publish));
  Say(finished, options);
  return finished;
}

absl::StatusOr<FinishedRun> RunOnRank(const Recipe& recipe, const Clock& clock,
                                      const RunOptions& options, at::Device device, Ranks& ranks) {
  const c10::DeviceGuard guard(device);
  ASSIGN_OR_RETURN(const OpenedRun run, OpenOnRank(recipe, options, ranks));
  Tracking tracking;
  if (ranks.is_first() && recipe.mlflow.wanted()) tracking = StartTracking(run, clock, options);
  absl::StatusOr<FinishedRun> ended = RunOpened(run, clock, options, device, ranks);
  FinishTracking(tracking, ended);
  return ended;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Objective>> MakeObjective(
    const Recipe& recipe, const model::Llava& model, Ranks& ranks, const StageOptions& stage,
    std::int64_t first_step, const Clock& clock,
    const std::function<void(const std::string&)>& on_message) {
  OpenedRun run;
  run.recipe = recipe;
  return StageData(run, model, ranks, clock, on_message, nullptr).Make(stage, first_step);
}

absl::StatusOr<FinishedRun> RunRecipe(const Recipe& recipe, const Clock& clock,
                                      const RunOptions& options) {
  ASSIGN_OR_RETURN(const at::Device device, OpenDevice(recipe.device, options.place.local_rank));
  RanksOptions ranks_options;
  ranks_options.device = device;
  ranks_options.lost_after = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(recipe.lost_after_seconds));
  ASSIGN_OR_RETURN(const std::unique_ptr<Ranks> ranks,
                   Ranks::Join(options.place, ranks_options, clock));
  Mutex saying;
  RunOptions serial = options;
  serial.on_message = [&saying, &options](const std::string& line) {
    MutexLock lock(&saying);
    options.on_message(line);
  };
  absl::StatusOr<FinishedRun> finished = RunOnRank(recipe, clock, serial, device, *ranks);
  ranks->Leave(finished.status());
  return finished;
}

}  // namespace llava::training
