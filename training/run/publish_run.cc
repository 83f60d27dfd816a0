#include "training/run/publish_run.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/durable_file.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "capture/trainings.h"
#include "model/checkpoint/manifest.h"
#include "model/checkpoint/weight_names.h"
#include "model/image/preprocess.h"
#include "model/network/checkpoint_writer.h"
#include "model/text/chat_template.h"
#include "training/assemble/processor_files.h"
#include "training/data/captured_rows.h"
#include "training/data/conversation_builder.h"
#include "training/evaluate/gate.h"
#include "training/evaluate/gate_record.h"
#include "training/evaluate/score.h"
#include "training/run/answerer.h"
#include "training/run/drawn_scenes.h"
#include "training/run/exam.h"
#include "training/run/opened_run.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr char kGateRecord[] = "/gate.json";

// The first exam, whose scores are the manifest's `evaluation`, and what must not be forgotten.
std::vector<EvaluationOptions> ExamsOf(const Recipe& recipe) {
  if (!recipe.evaluation.wanted()) return {};
  std::vector<EvaluationOptions> exams = {recipe.evaluation};
  exams.insert(exams.end(), recipe.guards.begin(), recipe.guards.end());
  return exams;
}

std::string NameOf(std::size_t exam) {
  return exam == 0 ? "evaluate" : absl::StrCat("evaluate.guards[", exam - 1, "]");
}

// Drawn first when the recipe says so.
absl::StatusOr<Exam> Open(const Recipe& recipe, EvaluationOptions options, int patch) {
  if (options.scenes.count > 0) {
    ASSIGN_OR_RETURN(const std::string folder,
                     DrawScenes(recipe.output, options.scenes, scenes::Split::kHeldOut, patch));
    options.file = folder + "/instruct.jsonl";
    options.images = folder + "/images";
  }
  return OpenExam(options.file, options.images, options.limit);
}

// A folder, or the one that it will be made in, takes new files.
absl::Status CheckWritable(const std::string& folder) {
  fs::path path = fs::absolute(folder).lexically_normal();
  std::error_code error;
  while (!fs::exists(path, error) && path.has_parent_path() && path != path.parent_path()) {
    path = path.parent_path();
  }
  if (!fs::is_directory(path, error)) {
    return absl::FailedPreconditionError(absl::StrCat(path.string(), ": is not a folder"));
  }
  if (::access(path.c_str(), W_OK) != 0) return absl::ErrnoToStatus(errno, path.string());
  const std::string latest = folder + "/latest";
  const fs::file_type type = fs::symlink_status(latest, error).type();
  if (type == fs::file_type::not_found || type == fs::file_type::symlink) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(latest, ": is there and no link, expected none or a link to a version"));
}

// What is required is asked: a kind that no question has is a slip of the pen.
absl::Status CheckRequired(const EvaluationOptions& options, const Exam& exam) {
  std::set<std::string> kinds = {"total"};
  for (const EvaluationItem& item : exam.items) kinds.insert(item.kind);
  for (const auto& [kind, least] : options.require) {
    if (kinds.contains(kind)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "require: names '", kind, "', of which ", options.file.empty() ? "no scene" : options.file,
        " asks nothing, expected some of ", absl::StrJoin(kinds, ", ")));
  }
  return absl::OkStatus();
}

// The exams of one run, taken by the new version and by the live one.
class Gate {
 public:
  Gate(const Recipe& recipe, const std::function<void(const std::string&)>& on_message)
      : recipe_(recipe), on_message_(on_message), wanted_(ExamsOf(recipe)) {}

  // Asks the weights in `checkpoint` as they will be served; fills in the manifest's evaluations,
  // its probes, whose pictures are written into the checkpoint, and why it is rejected, if it is.
  // A manifest that is rejected already stays so, and gate.json what was asked and heard then.
  absl::Status Judge(const std::string& checkpoint, std::int64_t step, at::Device device,
                     model::Manifest* manifest) {
    if (wanted_.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(AskNew(checkpoint, step, device, manifest));
    if (!manifest->rejected.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(Decide(checkpoint, device, manifest));
    if (is_live_) return absl::OkStatus();  // gate.json has what was decided before it was
    const std::string record = GateRecordJson(manifest->rejected, live_, records_);
    return WriteFile(recipe_.output + kGateRecord, record);
  }

 private:
  absl::Status Decide(const std::string& checkpoint, at::Device device, model::Manifest* manifest) {
    for (std::size_t i = 0; i < exams_.size(); ++i) {
      const std::string low = BelowRequired(OptionsOf(i), manifest->evaluations[i].scores);
      if (!low.empty()) return Reject(i, low, manifest);
    }
    return CompareWithLive(checkpoint, device, manifest);
  }

  // Whether `live` is what would be published now: a run that was ended between the two is asked to
  // go on, and would be compared with itself.
  static absl::StatusOr<bool> IsSame(const PublishedVersion& live, const std::string& checkpoint,
                                     const model::Manifest& now) {
    ASSIGN_OR_RETURN(const model::CheckpointVersion read, model::ReadManifest(live.dir));
    const model::Manifest& was = read.manifest;
    if (was.recipe != now.recipe || was.step != now.step || was.parent != now.parent ||
        was.data_fingerprint != now.data_fingerprint) {
      return false;
    }
    ASSIGN_OR_RETURN(const std::vector<model::ManifestFile> files,
                     model::DescribeFiles(checkpoint));
    return files == was.files;
  }

  GateOptions OptionsOf(std::size_t exam) const {
    const EvaluationOptions& wanted = wanted_[exam];
    return {wanted.require, wanted.min_delta, wanted.confidence};
  }

  static absl::Status Reject(std::size_t exam, const std::string& why, model::Manifest* manifest) {
    manifest->rejected = absl::StrCat(NameOf(exam), ": ", why);
    return absl::OkStatus();
  }

  // Where the answers of somebody to an exam are kept.
  std::string AnswersFile(const std::string& who, const Exam& exam) const {
    return absl::StrCat(recipe_.output, "/answers/", who, "-", exam.fingerprint.substr(0, 12),
                        ".jsonl");
  }

  absl::Status AskNew(const std::string& checkpoint, std::int64_t step, at::Device device,
                      model::Manifest* manifest) {
    ASSIGN_OR_RETURN(const std::unique_ptr<model::Llava> model,
                     model::Llava::Load(checkpoint, {.device = device}));
    ASSIGN_OR_RETURN(Answerer answerer, Answerer::Make(*model, checkpoint, ""));
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      absl::StatusOr<Exam> exam = Open(recipe_, wanted_[i], model->config().vision.patch_size);
      if (!exam.ok()) return Annotate(exam.status(), NameOf(i));
      exams_.push_back(*std::move(exam));
      ASSIGN_OR_RETURN(
          ExamResult result,
          TakeExam(answerer, exams_[i], AnswersFile(absl::StrCat("step-", step), exams_[i])));
      on_message_(absl::StrCat(NameOf(i), ":\n", ToText(result.scores)));
      manifest->evaluations.push_back({kRowsBenchmark, exams_[i].fingerprint, kExactJudge,
                                       std::ssize(result.right), Shares(result.scores)});
      records_.push_back(
          {NameOf(i), exams_[i].items, std::move(result.answers), std::move(result.right), {}, {}});
      RETURN_IF_ERROR(AddProbes(answerer, i, checkpoint, manifest));
    }
    manifest->evaluation = manifest->evaluations[0].scores;
    return absl::OkStatus();
  }

  absl::Status AddProbes(Answerer& answerer, std::size_t exam, const std::string& checkpoint,
                         model::Manifest* manifest) {
    const auto wanted = static_cast<int>(wanted_[exam].probes);
    ASSIGN_OR_RETURN(const std::vector<model::Probe> probes,
                     MakeProbes(answerer, exams_[exam].items, exams_[exam].images, checkpoint,
                                wanted, static_cast<int>(manifest->probes.size())));
    if (probes.empty() && wanted > 0) {
      on_message_(absl::StrCat(NameOf(exam), ": no question was answered right: no probes"));
    }
    manifest->probes.insert(manifest->probes.end(), probes.begin(), probes.end());
    return absl::OkStatus();
  }

  absl::Status CompareWithLive(const std::string& checkpoint, at::Device device,
                               model::Manifest* manifest) {
    const auto against = [](const EvaluationOptions& exam) { return exam.against_live; };
    if (std::none_of(wanted_.begin(), wanted_.end(), against)) return absl::OkStatus();
    const auto live = LiveVersion(recipe_.publish);
    if (absl::IsNotFound(live.status())) return absl::OkStatus();  // the first version
    RETURN_IF_ERROR(live.status());
    ASSIGN_OR_RETURN(is_live_, IsSame(*live, checkpoint, *manifest));
    if (is_live_) return absl::OkStatus();
    const auto model = model::Llava::Load(live->dir, {.device = device});
    if (!model.ok()) return CannotAsk(*live, model.status());
    absl::StatusOr<Answerer> answerer = Answerer::Make(**model, live->dir, "");
    if (!answerer.ok()) return CannotAsk(*live, answerer.status());
    for (std::size_t i = 0; i < exams_.size(); ++i) {
      if (!wanted_[i].against_live) continue;
      absl::StatusOr<ExamResult> result =
          TakeExam(*answerer, exams_[i], AnswersFile(live->version.substr(0, 12), exams_[i]));
      if (!result.ok()) return CannotAsk(*live, result.status());
      on_message_(
          absl::StrCat(NameOf(i), ", the live version ", live->dir, ":\n", ToText(result->scores)));
      live_ = live->version;
      records_[i].live_answers = std::move(result->answers);
      records_[i].live_right = std::move(result->right);
      const std::string worse =
          WorseThanLive(OptionsOf(i), records_[i].live_right, records_[i].right);
      if (!worse.empty()) return Reject(i, worse, manifest);
    }
    return absl::OkStatus();
  }

  static absl::Status CannotAsk(const PublishedVersion& live, const absl::Status& why) {
    return Annotate(why, absl::StrCat("the live version ", live.dir,
                                      " cannot be asked (evaluate.against: nobody does without)"));
  }

  const Recipe& recipe_;
  const std::function<void(const std::string&)>& on_message_;
  const std::vector<EvaluationOptions> wanted_;
  std::vector<Exam> exams_;
  std::vector<ExamRecord> records_;  // of each exam
  bool is_live_ = false;             // the new version is the live one already
  std::string live_;                 // the version that was asked too
};

// Moves the files of the checkpoint, or copies them to another file system.
absl::Status MoveInto(const std::string& checkpoint, const std::string& dir) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(checkpoint, error)) paths.push_back(entry.path());
  if (error) return absl::ErrnoToStatus(error.value(), checkpoint);
  for (const fs::path& path : paths) {
    const fs::path to = fs::path(dir) / path.filename();
    std::error_code other_system;
    fs::rename(path, to, other_system);
    if (!other_system) continue;
    fs::copy(path, to, fs::copy_options::recursive, error);
    // The library calls a full disk an input/output error.
    std::error_code ignored;
    if (error) {
      return absl::UnavailableError(absl::StrCat("copying to ", to.string(), ": ", error.message(),
                                                 " (", fs::space(dir, ignored).available,
                                                 " bytes are free there)"));
    }
  }
  return absl::OkStatus();
}

// The new version is published whatever becomes of the old ones: the next run tries again.
void DeleteOld(const Recipe& recipe, const FinishedRun& finished,
               const std::function<void(const std::string&)>& on_message) {
  if (recipe.keep_published == 0 || finished.dir.empty()) return;
  RealFiles files;
  const auto deleted = DeleteOldVersions(recipe.publish, static_cast<int>(recipe.keep_published),
                                         files, finished.dir, on_message);
  if (!deleted.ok()) {
    on_message(absl::StrCat("old versions were not deleted: ", MessageOf(deleted.status())));
    return;
  }
  for (const std::string& dir : *deleted) on_message(absl::StrCat("deleted ", dir));
}

// The Jinja text of the template in which the model learned to converse; empty when that is the
// source's own.
absl::StatusOr<std::string> TrainedTemplate(const Recipe& recipe) {
  std::string jinja;
  for (const StageOptions& stage : recipe.stages) {
    const std::string& name = stage.data.chat_template;
    if (stage.objective != ObjectiveKind::kConversation || name == "plain") continue;
    jinja.clear();
    if (name == kServingTemplate) continue;
    ASSIGN_OR_RETURN(const model::ChatTemplate chat_template, TrainingTemplate(name));
    jinja = chat_template.Jinja();
  }
  return jinja;
}

absl::StatusOr<model::SaveOptions> SaveOptionsOf(const Recipe& recipe) {
  model::SaveOptions save;
  save.source_dir = ModelFolder(recipe);
  ASSIGN_OR_RETURN(save.chat_template, TrainedTemplate(recipe));
  return save;
}

// How the last stage with pictures of its own shape has taught to read them: the folder's files say
// the same then. A model with tiles is served with them, whatever its stages read.
absl::Status WriteTrainedAspect(const Recipe& recipe, const model::LlavaConfig& config,
                                const std::string& folder) {
  PictureAspect aspect = PictureAspect::kOfModel;
  for (const StageOptions& stage : recipe.stages) {
    if (stage.objective == ObjectiveKind::kConversation) aspect = stage.data.aspect;
  }
  if (aspect == PictureAspect::kOfModel || config.has_tiles()) return absl::OkStatus();
  ASSIGN_OR_RETURN(model::PreprocessSettings settings,
                   model::ReadPreprocessSettings(ModelFolder(recipe), config));
  settings.aspect = AspectOf(aspect);
  return WriteProcessorFiles(config, settings, folder);
}

std::string CheckpointFolder(const Recipe& recipe) { return recipe.output + "/checkpoint"; }

// The shards whose rows the run has learned from.
absl::Status AddCaptured(const Recipe& recipe, model::Manifest* manifest) {
  for (const auto& [dir, folder] : CapturedFolders(recipe)) {
    ASSIGN_OR_RETURN(const std::vector<capture::ChosenShard> shards, ReadTakenShards(folder));
    for (const capture::ChosenShard& shard : shards) {
      manifest->captured.push_back({shard.name, shard.sha256, shard.rows});
    }
  }
  return absl::OkStatus();
}

// Who asks to be forgotten is told of the version; before it can be seen, so that none is missing.
// That there is one must not hang on it.
void TellCaptured(const Recipe& recipe, const std::string& version,
                  const std::function<void(const std::string&)>& on_message) {
  const std::string run = fs::absolute(recipe.output).lexically_normal().string();
  for (const auto& [dir, folder] : CapturedFolders(recipe)) {
    const absl::Status status = capture::AddVersion(run, version, dir);
    if (status.ok()) continue;
    on_message(absl::StrCat("the version is not written down beside the captured shards: ",
                            status.message()));
  }
}

// Moves the weights in CheckpointFolder to the published versions; *finished learns which.
absl::Status MakeVisible(const Recipe& recipe, model::Manifest manifest,
                         const PublishRunOptions& options, FinishedRun* finished) {
  const auto write = [&recipe](const std::string& dir) {
    return MoveInto(CheckpointFolder(recipe), dir);
  };
  const auto record = [&](const PublishedVersion& coming) {
    TellCaptured(recipe, coming.version, options.on_message);
    options.before_visible();
    return WritePublishingRun({coming.version, coming.dir, finished->rejected}, recipe.output);
  };
  RealFiles files;
  ASSIGN_OR_RETURN(
      const PublishedVersion published,
      Publish(recipe.publish, std::move(manifest), write, files, record, options.on_message));
  finished->version = published.version;
  finished->dir = published.dir;
  return absl::OkStatus();
}

// The weights in CheckpointFolder, judged.
absl::StatusOr<model::Manifest> Judge(const Recipe& recipe, const RunInputs& inputs,
                                      const model::Llava& model, const Progress& progress,
                                      const std::function<void(const std::string&)>& on_message,
                                      const std::string& rejected) {
  const std::string checkpoint = CheckpointFolder(recipe);
  std::error_code error;
  fs::remove_all(checkpoint, error);
  RETURN_IF_ERROR(SaveTrainedModel(recipe, model, checkpoint));
  model::Manifest manifest;
  manifest.recipe = recipe.text;
  manifest.data_fingerprint = TrainedDataFingerprint(inputs);
  manifest.parent = inputs.parent;
  RETURN_IF_ERROR(AddCaptured(recipe, &manifest));
  manifest.step = progress.total_steps;
  manifest.selection = absl::StrJoin(progress.kept_weights, "; ");
  manifest.rejected = rejected;
  Gate gate(recipe, on_message);
  RETURN_IF_ERROR(gate.Judge(checkpoint, progress.total_steps, model.device(), &manifest));
  return manifest;
}

}  // namespace

model::ImageAspect AspectOf(PictureAspect aspect) {
  return aspect == PictureAspect::kPad ? model::ImageAspect::kPad : model::ImageAspect::kCrop;
}

absl::Status SaveTrainedModel(const Recipe& recipe, const model::Llava& model,
                              const std::string& folder) {
  ASSIGN_OR_RETURN(const model::SaveOptions save, SaveOptionsOf(recipe));
  std::map<std::string, at::Tensor> weights = model.weights();
  if (recipe.model.checkpoint.empty()) {
    // Never read by LLaVA, but transformers' CLIP has it.
    const std::string norm = absl::StrCat(model::kVisionPrefix, "post_layernorm.");
    const std::int64_t width = model.config().vision.hidden_size;
    weights.emplace(absl::StrCat(norm, "weight"), at::ones({width}, model.dtype()));
    weights.emplace(absl::StrCat(norm, "bias"), at::zeros({width}, model.dtype()));
  }
  RETURN_IF_ERROR(model::SaveCheckpoint(model.config(), weights, folder, save));
  return WriteTrainedAspect(recipe, model.config(), folder);
}

absl::Status CheckPublishing(const Recipe& recipe, int patch) {
  RETURN_IF_ERROR(Annotate(CheckWritable(recipe.publish), "publish"));
  ASSIGN_OR_RETURN(const model::SaveOptions save, SaveOptionsOf(recipe));
  RETURN_IF_ERROR(model::CheckCarried(save));
  const std::vector<EvaluationOptions> exams = ExamsOf(recipe);
  for (std::size_t i = 0; i < exams.size(); ++i) {
    const absl::StatusOr<Exam> exam = Open(recipe, exams[i], patch);
    const absl::Status status = exam.ok() ? CheckRequired(exams[i], *exam) : exam.status();
    if (!status.ok()) return Annotate(status, NameOf(i));
  }
  return absl::OkStatus();
}

absl::StatusOr<FinishedRun> JudgeRun(const Recipe& recipe, const RunInputs& inputs,
                                     const model::Llava& model, const Progress& progress,
                                     const std::function<void(const std::string&)>& on_message) {
  ASSIGN_OR_RETURN(const model::Manifest manifest,
                   Judge(recipe, inputs, model, progress, on_message, ""));
  return FinishedRun{"", "", manifest.rejected};
}

absl::StatusOr<FinishedRun> PublishRun(const Recipe& recipe, const RunInputs& inputs,
                                       const model::Llava& model, const Progress& progress,
                                       const PublishRunOptions& options) {
  ASSIGN_OR_RETURN(model::Manifest manifest,
                   Judge(recipe, inputs, model, progress, options.on_message, options.rejected));
  FinishedRun finished{"", "", manifest.rejected};
  if (finished.rejected.empty() || recipe.keep_rejected) {
    RETURN_IF_ERROR(MakeVisible(recipe, std::move(manifest), options, &finished));
  }
  RETURN_IF_ERROR(WriteFinishedRun(finished, recipe.output));
  DeleteOld(recipe, finished, options.on_message);
  std::error_code error;
  fs::remove_all(CheckpointFolder(recipe), error);  // what is left of it
  return finished;
}

}  // namespace llava::training
