#include "training/run/stage_data.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/image/preprocess.h"
#include "training/data/trainable.h"
#include "training/objective/conversation_objective.h"
#include "training/objective/feature_cache.h"
#include "training/objective/patch_label_objective.h"
#include "training/optim/trainer.h"
#include "training/run/drawn_scenes.h"
#include "training/run/publish_run.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

// A stage of the rows that `stage` is validated with, where they lie in a file of their own.
StageOptions ValidationStage(const StageOptions& stage) {
  StageOptions validation = stage;
  validation.data.scenes = {};
  validation.data.files = {stage.validate.file};
  validation.data.file_images.clear();
  validation.data.weights.clear();
  if (!stage.validate.images.empty()) validation.data.images = stage.validate.images;
  return validation;
}

// The first questions of the first rows, and how they are asked.
absl::StatusOr<SampleQuestions> QuestionsOf(const ValidationRows& rows, const std::string& images,
                                            const StageOptions& stage) {
  SampleQuestions questions;
  const std::string& name = stage.data.chat_template;
  if (name != kServingTemplate) {
    ASSIGN_OR_RETURN(const model::ChatTemplate chat_template, TrainingTemplate(name));
    questions.chat_template = chat_template.name();
  }
  const auto wanted = std::min<std::int64_t>(stage.validate.samples, std::ssize(rows.rows));
  for (std::int64_t i = 0; i < wanted; ++i) {
    ASSIGN_OR_RETURN(const Row row, rows.dataset->Read(rows.rows[i]));
    SampleAnswer& question = questions.questions.emplace_back();
    const std::string& folder = row.images_dir.empty() ? images : row.images_dir;
    for (const std::string& image : row.images) {
      question.images.push_back(absl::StrCat(folder, "/", image));
    }
    question.question = name == "plain" ? "" : TextOf(row.turns[0].text);
    question.expected = row.turns[1].text;
  }
  return questions;
}

}  // namespace

StageData::StageData(const OpenedRun& run, const model::Llava& model, Ranks& ranks,
                     const Clock& clock, std::function<void(const std::string&)> on_message,
                     std::shared_ptr<PictureRecord> pictures)
    : run_(run),
      recipe_(run.recipe),
      model_(model),
      ranks_(ranks),
      clock_(clock),
      on_message_(std::move(on_message)),
      pictures_(std::move(pictures)) {}

absl::Status StageData::CheckAll(std::int64_t next) const {
  if (!ranks_.is_first()) return absl::OkStatus();
  for (std::int64_t i = next; i < std::ssize(recipe_.stages); ++i) {
    const StageOptions& stage = recipe_.stages[i];
    const absl::Status status = Check(stage, i == next);
    if (!status.ok()) return Annotate(status, absl::StrCat("stage ", stage.name));
  }
  return CheckPublishing(recipe_, model_.config().vision.patch_size);
}

absl::StatusOr<std::unique_ptr<Objective>> StageData::Make(StageOptions stage,
                                                           std::int64_t first_step) {
  if (stage.data.scenes.count > 0) RETURN_IF_ERROR(UseScenes(&stage.data));
  if (stage.objective == ObjectiveKind::kPatchLabels) return MakePatchLabels(stage, first_step);
  return MakeConversation(stage, first_step);
}

absl::Status StageData::Check(const StageOptions& stage, bool is_opened_next) const {
  if (stage.objective == ObjectiveKind::kConversation) {
    RETURN_IF_ERROR(MakeBuilder(stage.data).status());
  }
  if (!stage.validate.file.empty()) {
    RETURN_IF_ERROR(Annotate(CheckRows(ValidationStage(stage)), "validate"));
  }
  if (stage.data.scenes.count > 0) return absl::OkStatus();
  std::error_code error;
  if (!stage.data.images.empty() && !fs::is_directory(stage.data.images, error)) {
    return absl::NotFoundError(
        absl::StrCat("data.images: ", stage.data.images, ": no such folder"));
  }
  if (is_opened_next) return absl::OkStatus();
  if (stage.objective == ObjectiveKind::kPatchLabels) return MakePatchLabels(stage, 0).status();
  return CheckRows(stage);
}

absl::Status StageData::CheckRows(const StageOptions& stage) const {
  ASSIGN_OR_RETURN(const InstructionDataset rows, OpenRows(stage, nullptr));
  ASSIGN_OR_RETURN(const std::unique_ptr<ConversationBuilder> builder, MakeBuilder(stage.data));
  return CheckTeaches(rows, *builder);
}

// The rows that are about to be trained are those that were recorded.
absl::Status StageData::CheckRecorded(const std::vector<std::string>& files,
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

absl::Status StageData::UseScenes(DataOptions* data) const {
  const auto draw = [&] {
    return DrawScenes(recipe_.output, data->scenes, scenes::Split::kTrain,
                      model_.config().vision.patch_size);
  };
  if (ranks_.is_first()) {
    on_message_(absl::StrCat("scenes: ", data->scenes.count, " pictures"));
    RETURN_IF_ERROR(draw().status());
  }
  RETURN_IF_ERROR(ranks_.Barrier());
  ASSIGN_OR_RETURN(const std::string folder, draw());  // there by now
  data->files = {folder + "/instruct.jsonl"};
  data->images = folder + "/images";
  data->labels = folder;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Objective>> StageData::MakePatchLabels(
    const StageOptions& stage, std::int64_t first_step) const {
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

absl::StatusOr<std::unique_ptr<Objective>> StageData::MakeConversation(const StageOptions& stage,
                                                                       std::int64_t first_step) {
  ASSIGN_OR_RETURN(std::unique_ptr<ConversationBuilder> builder, MakeBuilder(stage.data));
  for (const std::string& warning : builder->warnings()) on_message_(warning);
  const FeedPosition position{.seed = recipe_.seed,
                              .first_step = first_step,
                              .rank = ranks_.rank(),
                              .ranks = ranks_.size(),
                              .passes = PassesPerStep(stage, ranks_.size())};
  const ConversationBuilder& labels = *builder;  // the feed's from now on
  ASSIGN_OR_RETURN(std::shared_ptr<ConversationFeed> feed,
                   ConversationFeed::Open(stage, std::move(builder), position, on_message_));
  RETURN_IF_ERROR(
      Annotate(CheckTeaches(*feed->dataset(), labels), absl::StrCat("stage ", stage.name)));
  if (!feed->held_out().empty()) {
    RETURN_IF_ERROR(Annotate(CheckTeaches(*feed->dataset(), feed->held_out(), labels),
                             absl::StrCat("stage ", stage.name, ": validate")));
  }
  if (stage.data.scenes.count == 0) {
    RETURN_IF_ERROR(CheckRecorded(stage.data.files, feed->dataset()->digests()));
  }
  feed_ = feed;
  images_ = stage.data.images;
  auto objective = std::make_unique<ConversationObjective>(
      model_, [feed] { return feed->Next(); }, feed->steps_per_epoch(), !stage.train_vision_tower,
      FeatureCache::kStageBytes, &clock_);
  objective->UseNoise(stage.neftune_alpha);
  return objective;
}

absl::StatusOr<std::unique_ptr<ConversationBuilder>> StageData::MakeBuilder(
    const DataOptions& data) const {
  ConversationOptions conversation;
  conversation.images_dir = data.images;
  conversation.chat_template = data.chat_template;
  conversation.max_length = data.max_length;
  conversation.split_turns = data.split_turns;
  if (data.aspect != PictureAspect::kOfModel) conversation.aspect = AspectOf(data.aspect);
  conversation.pictures = pictures_;
  ASSIGN_OR_RETURN(ConversationBuilder builder,
                   ConversationBuilder::Make(ModelFolder(recipe_), "", conversation));
  return std::make_unique<ConversationBuilder>(std::move(builder));
}

absl::StatusOr<ValidationRows> StageData::HeldOutRows(const StageOptions& stage) const {
  if (stage.validate.file.empty())
    return ValidationRows{feed_->dataset(), feed_->builder(), feed_->held_out()};
  const StageOptions own = ValidationStage(stage);
  ASSIGN_OR_RETURN(InstructionDataset dataset, OpenRows(own, nullptr));
  RETURN_IF_ERROR(CheckRecorded(own.data.files, dataset.digests()));
  ASSIGN_OR_RETURN(std::unique_ptr<ConversationBuilder> builder, MakeBuilder(own.data));
  ValidationRows rows;
  rows.rows.resize(static_cast<std::size_t>(dataset.size()));
  std::iota(rows.rows.begin(), rows.rows.end(), 0);
  rows.dataset = std::make_shared<const InstructionDataset>(std::move(dataset));
  rows.builder = std::move(builder);
  return rows;
}

absl::StatusOr<std::unique_ptr<Validation>> StageData::MakeValidation(const StageOptions& stage) {
  questions_ = {};
  if (!stage.validate.wanted()) return nullptr;
  absl::StatusOr<ValidationRows> rows = HeldOutRows(stage);
  if (!rows.ok()) return Annotate(rows.status(), absl::StrCat("stage ", stage.name, ": validate"));
  const bool own = !stage.validate.file.empty();
  const std::string images = own ? ValidationStage(stage).data.images : images_;
  ASSIGN_OR_RETURN(questions_, QuestionsOf(*rows, images, stage));
  if (ranks_.is_first()) {
    on_message_(absl::StrCat("stage ", stage.name, ": validated with ", rows->rows.size(),
                             " rows every ", stage.validate.every, " steps"));
  }
  ValidationPlan plan;
  plan.rank = ranks_.rank();
  plan.ranks = ranks_.size();
  const std::int64_t passes = ranks_.size() * PassesPerStep(stage, ranks_.size());
  plan.batch = (stage.batch + passes - 1) / passes;
  plan.workers = stage.data.workers;
  plan.tower_is_frozen = !stage.train_vision_tower;
  plan.cache_bytes = FeatureCache::kStageBytes / 4;
  return std::make_unique<ConversationValidation>(model_, *std::move(rows), plan);
}

}  // namespace llava::training
