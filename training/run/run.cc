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
#include "training/objective/conversation_feed.h"
#include "training/objective/conversation_objective.h"
#include "training/objective/patch_label_objective.h"
#include "training/objective/random_weights.h"
#include "training/optim/state_store.h"
#include "training/optim/trainer.h"
#include "training/run/device.h"
#include "training/run/drawn_scenes.h"
#include "training/run/publish_run.h"
#include "training/run/run_folder.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kFeatureCacheBytes = std::int64_t{2} << 30;

at::ScalarType DTypeOf(Precision precision) {
  return precision == Precision::kFloat32 ? at::kFloat : at::kBFloat16;
}

std::string StateFolder(const Recipe& recipe) { return recipe.output + "/state"; }

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
  StageData(const Recipe& recipe, const model::Llava& model, Ranks& ranks,
            const RunOptions& options)
      : recipe_(recipe), model_(model), ranks_(ranks), options_(options) {}

  // What would end the run in a later stage: a file that is not there, another template.
  absl::Status CheckAll() const {
    for (const StageOptions& stage : recipe_.stages) {
      const absl::Status status = Check(stage);
      if (!status.ok()) return Annotate(status, absl::StrCat("stage ", stage.name));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Objective>> Make(StageOptions stage, std::int64_t first_step) {
    if (stage.data.scenes.count > 0) RETURN_IF_ERROR(UseScenes(&stage.data));
    if (stage.objective == ObjectiveKind::kPatchLabels) return MakePatchLabels(stage, first_step);
    return MakeConversation(stage, first_step);
  }

 private:
  absl::Status Check(const StageOptions& stage) const {
    std::error_code error;
    for (const std::string& file : stage.data.files) {
      if (fs::exists(file, error) || stage.data.scenes.count > 0) continue;
      return absl::NotFoundError(absl::StrCat("data.files: ", file, ": no such file"));
    }
    if (stage.objective != ObjectiveKind::kConversation) return absl::OkStatus();
    return MakeBuilder(stage.data).status();
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
    ASSIGN_OR_RETURN(ConversationBuilder builder,
                     ConversationBuilder::Make(ModelFolder(recipe_), "", conversation));
    return std::make_unique<ConversationBuilder>(std::move(builder));
  }

  const Recipe& recipe_;
  const model::Llava& model_;
  Ranks& ranks_;
  const RunOptions& options_;
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
    return model::Llava::Load(recipe.model.checkpoint, options);
  }
  ASSIGN_OR_RETURN(const model::LlavaConfig config, model::ReadConfig(recipe.model.from_scratch));
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

absl::Status RunOnRank(const Recipe& recipe, const Clock& clock, const RunOptions& options,
                       at::Device device, Ranks& ranks) {
  const c10::DeviceGuard guard(device);
  std::error_code error;
  fs::create_directories(recipe.output, error);
  if (error) return absl::UnavailableError(absl::StrCat(recipe.output, ": ", error.message()));
  ASSIGN_OR_RETURN(const std::unique_ptr<model::Llava> model, LoadTrainingModel(recipe, device));
  StageData data(recipe, *model, ranks, options);
  RETURN_IF_ERROR(data.CheckAll());
  StateStore store(StateFolder(recipe), recipe.keep, ranks);
  RunFolder folder(recipe.output, clock, options.on_message);
  TrainerHooks hooks;
  hooks.make_objective = [&](const StageOptions& stage, std::int64_t first_step) {
    return data.Make(stage, first_step);
  };
  hooks.on_step = [&](const StepReport& report) {
    if (!ranks.is_first()) return;
    folder.Add(report);
    options.on_step(report);
    if (report.targets == 0) {
      options.on_message(absl::StrCat("stage ", report.stage, ", step ", report.step,
                                      ": every label of its ", report.stats.masked,
                                      " samples is masked, it teaches nothing"));
    }
  };
  hooks.stop = options.stop;
  Trainer trainer(recipe, *model, store, ranks, clock, std::move(hooks));
  const absl::Status trained = trainer.Run();
  if (!ranks.is_first()) return trained;
  folder.DrawLoss();
  RETURN_IF_ERROR(trained);
  ASSIGN_OR_RETURN(const PublishedVersion published,
                   PublishRun(recipe, *model, trainer.progress().total_steps, options.on_message));
  options.on_message(absl::StrCat("published ", published.dir));
  return absl::OkStatus();
}

}  // namespace

absl::Status RunRecipe(const Recipe& recipe, const Clock& clock, const RunOptions& options) {
  ASSIGN_OR_RETURN(const at::Device device, OpenDevice(recipe.device, options.place.local_rank));
  RanksOptions ranks_options;
  ranks_options.device = device;
  ranks_options.lost_after = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(recipe.lost_after_seconds));
  ASSIGN_OR_RETURN(const std::unique_ptr<Ranks> ranks,
                   Ranks::Join(options.place, ranks_options, clock));
  const absl::Status status = RunOnRank(recipe, clock, options, device, *ranks);
  ranks->Leave(status);
  return status;
}

}  // namespace llava::training
