#include "training/run/run.h"

#include <ATen/core/grad_mode.h>
#include <c10/core/DeviceGuard.h>

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "model/image/preprocess.h"
#include "training/data/conversation_builder.h"
#include "training/data/picture_record.h"
#include "training/data/trainable.h"
#include "training/objective/conversation_feed.h"
#include "training/objective/conversation_objective.h"
#include "training/objective/patch_label_objective.h"
#include "training/objective/random_weights.h"
#include "training/optim/state_store.h"
#include "training/optim/trainer.h"
#include "training/run/device.h"
#include "training/run/drawn_scenes.h"
#include "training/run/opened_run.h"
#include "training/run/publish_run.h"
#include "training/run/run_folder.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kFeatureCacheBytes = std::int64_t{2} << 30;

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

// Makes the data of stages for one run.
class StageData {
 public:
  StageData(const OpenedRun& run, const model::Llava& model, Ranks& ranks,
            const RunOptions& options, std::shared_ptr<PictureRecord> pictures)
      : run_(run),
        recipe_(run.recipe),
        model_(model),
        ranks_(ranks),
        options_(options),
        pictures_(std::move(pictures)) {}

  // What would end the run later: rows or labels that cannot be read, another template, questions
  // for the published version. The stage that comes first, number `next`, is about to be opened.
  // The first rank looks for all.
  absl::Status CheckAll(std::int64_t next) const {
    if (!ranks_.is_first()) return absl::OkStatus();
    for (std::int64_t i = next; i < std::ssize(recipe_.stages); ++i) {
      const StageOptions& stage = recipe_.stages[i];
      const absl::Status status = Check(stage, i == next);
      if (!status.ok()) return Annotate(status, absl::StrCat("stage ", stage.name));
    }
    return CheckPublishing(recipe_, model_.config().vision.patch_size);
  }

  absl::StatusOr<std::unique_ptr<Objective>> Make(StageOptions stage, std::int64_t first_step) {
    if (stage.data.scenes.count > 0) RETURN_IF_ERROR(UseScenes(&stage.data));
    if (stage.objective == ObjectiveKind::kPatchLabels) return MakePatchLabels(stage, first_step);
    return MakeConversation(stage, first_step);
  }

 private:
  absl::Status Check(const StageOptions& stage, bool is_opened_next) const {
    if (stage.objective == ObjectiveKind::kConversation) {
      RETURN_IF_ERROR(MakeBuilder(stage.data).status());
    }
    if (stage.data.scenes.count > 0) return absl::OkStatus();
    std::error_code error;
    if (!stage.data.images.empty() && !fs::is_directory(stage.data.images, error)) {
      return absl::NotFoundError(
          absl::StrCat("data.images: ", stage.data.images, ": no such folder"));
    }
    if (is_opened_next) return absl::OkStatus();
    if (stage.objective == ObjectiveKind::kPatchLabels) return MakePatchLabels(stage, 0).status();
    return OpenRows(stage, nullptr).status();
  }

  // The rows that are about to be trained are those that were recorded.
  absl::Status CheckRecorded(const std::vector<std::string>& files,
                             const std::vector<Digest>& digests) const {
    for (std::size_t i = 0; i < files.size(); ++i) {
      for (const RunInput& input : run_.inputs.inputs) {
        if (input.kind != InputKind::kData || input.name != files[i]) continue;
        if (input.value == digests[i].Hex()) break;
        return absl::FailedPreconditionError(
            absl::StrCat(files[i], ": has changed since this run was started: SHA-256 was ",
                         input.value, ", is ", digests[i].Hex()));
      }
    }
    return absl::OkStatus();
  }

  absl::Status UseScenes(DataOptions* data) const {
    const auto draw = [&] {
      return DrawScenes(recipe_.output, data->scenes, scenes::Split::kTrain,
                        model_.config().vision.patch_size);
    };
    if (ranks_.is_first()) {
      options_.on_message(absl::StrCat("scenes: ", data->scenes.count, " pictures"));
      RETURN_IF_ERROR(draw().status());
    }
    RETURN_IF_ERROR(ranks_.Barrier());
    ASSIGN_OR_RETURN(const std::string folder, draw());  // there by now
    data->files = {folder + "/instruct.jsonl"};
    data->images = folder + "/images";
    data->labels = folder;
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Objective>> MakePatchLabels(const StageOptions& stage,
                                                             std::int64_t first_step) const {
    PatchLabelOptions options;
    options.folder = stage.data.labels;
    options.global_batch = stage.batch;
    options.rank = ranks_.rank();
    options.passes = PassesPerStep(stage, ranks_.size());
    options.parts = ranks_.size() * options.passes;
    options.first_step = first_step;
    options.seed = recipe_.seed;
    options.pictures = pictures_;
    ASSIGN_OR_RETURN(const model::PreprocessSettings settings,
                     model::ReadPreprocessSettings(ModelFolder(recipe_), model_.config()));
    return PatchLabelObjective::Create(model_, model::Preprocessor(settings), options);
  }

  absl::StatusOr<std::unique_ptr<Objective>> MakeConversation(const StageOptions& stage,
                                                              std::int64_t first_step) const {
    ASSIGN_OR_RETURN(std::unique_ptr<ConversationBuilder> builder, MakeBuilder(stage.data));
    for (const std::string& warning : builder->warnings()) options_.on_message(warning);
    const FeedPosition position{.seed = recipe_.seed,
                                .first_step = first_step,
                                .rank = ranks_.rank(),
                                .ranks = ranks_.size(),
                                .passes = PassesPerStep(stage, ranks_.size())};
    ASSIGN_OR_RETURN(
        std::shared_ptr<ConversationFeed> feed,
        ConversationFeed::Open(stage, std::move(builder), position, options_.on_message));
    if (stage.data.scenes.count == 0) {
      RETURN_IF_ERROR(CheckRecorded(stage.data.files, feed->dataset().digests()));
    }
    return std::make_unique<ConversationObjective>(
        model_, [feed] { return feed->Next(); }, feed->steps_per_epoch(), !stage.train_vision_tower,
        kFeatureCacheBytes);
  }

  absl::StatusOr<std::unique_ptr<ConversationBuilder>> MakeBuilder(const DataOptions& data) const {
    ConversationOptions conversation;
    conversation.images_dir = data.images;
    conversation.chat_template = data.chat_template;
    conversation.max_length = data.max_length;
    conversation.split_turns = data.split_turns;
    conversation.pictures = pictures_;
    ASSIGN_OR_RETURN(ConversationBuilder builder,
                     ConversationBuilder::Make(ModelFolder(recipe_), "", conversation));
    return std::make_unique<ConversationBuilder>(std::move(builder));
  }

  const OpenedRun& run_;
  const Recipe& recipe_;
  const model::Llava& model_;
  Ranks& ranks_;
  const RunOptions& options_;
  const std::shared_ptr<PictureRecord> pictures_;
};

}  // namespace

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
    ASSIGN_OR_RETURN(const model::LlavaConfig config, model::ReadConfig(recipe.model.checkpoint));
    RETURN_IF_ERROR(CheckTrainable(config, recipe.model.checkpoint));
    return model::Llava::Load(recipe.model.checkpoint, options);
  }
  ASSIGN_OR_RETURN(const model::LlavaConfig config, model::ReadConfig(recipe.model.from_scratch));
  RETURN_IF_ERROR(CheckTrainable(config, recipe.model.from_scratch));
  RandomWeights weights(recipe.seed, dtype, device);
  return std::make_unique<model::Llava>(config, weights);
}

absl::StatusOr<std::unique_ptr<model::Llava>> LoadTrainedModel(const Recipe& recipe) {
  ASSIGN_OR_RETURN(std::unique_ptr<model::Llava> model, LoadTrainingModel(recipe, at::kCPU));
  Ranks alone;
  ASSIGN_OR_RETURN(const std::optional<SavedState> saved,
                   StateStore(StateFolder(recipe), recipe.keep, alone).LoadNewest());
  if (!saved.has_value()) {
    return absl::NotFoundError(absl::StrCat(StateFolder(recipe), ": no saved state"));
  }
  RETURN_IF_ERROR(RestoreWeights(*saved, recipe, *model));
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

// Trains; how many steps there were in all.
absl::StatusOr<std::int64_t> Train(const OpenedRun& run, model::Llava& model, const Clock& clock,
                                   const RunOptions& options, Ranks& ranks) {
  const Recipe& recipe = run.recipe;
  ASSIGN_OR_RETURN(
      std::shared_ptr<PictureRecord> pictures,
      PictureRecord::Open(PicturesFolder(recipe), ranks.rank(), options.accept_changed_data));
  StageData data(run, model, ranks, options, pictures);
  const std::optional<Progress> before = NewestProgress(StateFolder(recipe));
  RETURN_IF_ERROR(data.CheckAll(before ? before->stage : 0));
  StateStore store(StateFolder(recipe), recipe.keep, ranks, options.on_message);
  RunFolder folder(recipe.output, clock, options.on_message);
  TrainerHooks hooks;
  hooks.make_objective = [&](const StageOptions& stage, std::int64_t first_step) {
    options.on_steps(false);  // opening data may take long, and nothing is lost by ending it
    absl::StatusOr<std::unique_ptr<Objective>> objective = data.Make(stage, first_step);
    options.on_steps(true);
    return objective;
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
  options.on_steps(false);
  if (ranks.is_first()) folder.DrawLoss();
  RETURN_IF_ERROR(trained);
  return trainer.progress().total_steps;
}

absl::StatusOr<FinishedRun> RunOnRank(const Recipe& recipe, const Clock& clock,
                                      const RunOptions& options, at::Device device, Ranks& ranks) {
  const c10::DeviceGuard guard(device);
  ASSIGN_OR_RETURN(const OpenedRun run, OpenOnRank(recipe, options, ranks));
  if (run.finished) {
    options.on_message(absl::StrCat(run.recipe.output, ": this run has finished"));
    Say(*run.finished, options);
    return *run.finished;
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<model::Llava> model,
                   LoadTrainingModel(run.recipe, device));
  ASSIGN_OR_RETURN(const std::int64_t steps, Train(run, *model, clock, options, ranks));
  if (!ranks.is_first()) return FinishedRun();
  ASSIGN_OR_RETURN(const FinishedRun finished,
                   PublishRun(run.recipe, run.inputs, *model, steps, options.on_message));
  RETURN_IF_ERROR(WriteFinishedRun(finished, run.recipe.output));
  Say(finished, options);
  return finished;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Objective>> MakeObjective(
    const Recipe& recipe, const model::Llava& model, Ranks& ranks, const StageOptions& stage,
    std::int64_t first_step, const std::function<void(const std::string&)>& on_message) {
  OpenedRun run;
  run.recipe = recipe;
  RunOptions options;
  options.on_message = on_message;
  return StageData(run, model, ranks, options, nullptr).Make(stage, first_step);
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
  absl::StatusOr<FinishedRun> finished = RunOnRank(recipe, clock, options, device, *ranks);
  ranks->Leave(finished.status());
  return finished;
}

}  // namespace llava::training
