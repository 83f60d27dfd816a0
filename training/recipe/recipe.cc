#include "training/recipe/recipe.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strict_yaml.h"
#include "base/utf8_stream.h"
#include "training/data/scenes/scene.h"
#include "training/data/tar/shard_names.h"
#include "training/recipe/recipe_settings.h"

namespace llava::training {
namespace {

constexpr std::size_t kMaxRecipeBytes = std::size_t{1} << 20;

// What is beyond these is a slip of the pen, and would be more than sums of it can hold.
constexpr std::int64_t kMost = 1'000'000'000;
constexpr std::int64_t kMostRepeats = 1'000'000;
constexpr std::int64_t kMostThreads = 1024;
constexpr std::int64_t kAnySeed = std::numeric_limits<std::int64_t>::max();

// The values of one section that must lie in a range: absl-style messages with the key's line.
void CheckCount(StrictYaml& yaml, std::string_view key, std::int64_t value, std::int64_t least,
                std::int64_t most = kMost) {
  if (value < least) yaml.Fail(key, absl::StrCat("is ", value, ", expected at least ", least));
  if (value > most) yaml.Fail(key, absl::StrCat("is ", value, ", expected at most ", most));
}

void CheckAtLeast(StrictYaml& yaml, std::string_view key, double value, double least) {
  if (!(value >= least) || !std::isfinite(value)) {
    yaml.Fail(key, absl::StrCat("is ", value, ", expected at least ", least));
  }
}

void CheckWithin(StrictYaml& yaml, std::string_view key, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    yaml.Fail(key, absl::StrCat("is ", value, ", expected ", low, " to ", high));
  }
}

class Reader {
 public:
  explicit Reader(const std::string& file) : folder_(std::filesystem::path(file).parent_path()) {}

  void Read(StrictYaml& yaml, Recipe& recipe) const {
    yaml.Require("name");
    yaml.Optional("name", &recipe.name);
    yaml.Require("output");
    Path(yaml, "output", &recipe.output);
    if (yaml.Has("output") && recipe.output.empty())
      yaml.Fail("output", "is '', expected a folder");
    Path(yaml, "publish", &recipe.publish);
    yaml.Optional("keep_published", &recipe.keep_published);
    CheckCount(yaml, "keep_published", recipe.keep_published, 0, kMostRepeats);
    std::int64_t seed = 42;
    yaml.Optional("seed", &seed);
    CheckCount(yaml, "seed", seed, 0, kAnySeed);
    recipe.seed = static_cast<std::uint64_t>(seed);
    yaml.Choice<Precision>("precision",
                           {{"fp32", Precision::kFloat32}, {"bf16", Precision::kBfloat16}},
                           &recipe.precision);
    yaml.Choice<DeviceKind>("device", {{"cpu", DeviceKind::kCpu}, {"cuda", DeviceKind::kCuda}},
                            &recipe.device);
    yaml.Require("model");
    yaml.Section("model", [&](StrictYaml& model) { ReadModel(model, recipe.model); });
    yaml.Section("save", [&](StrictYaml& save) {
      save.Optional("every_steps", &recipe.save_every);
      save.Optional("keep", &recipe.keep);
      CheckCount(save, "every_steps", recipe.save_every, 1);
      CheckCount(save, "keep", recipe.keep, 1, kMostRepeats);
    });
    yaml.Section("distributed", [&](StrictYaml& distributed) {
      distributed.Optional("shard", &recipe.shard);
      distributed.Optional("shard_weights", &recipe.shard_weights);
      if (recipe.shard_weights && !recipe.shard) {
        distributed.Fail("shard_weights", "is true, expected shard: true beside it");
      }
      distributed.Optional("lost_after_seconds", &recipe.lost_after_seconds);
      CheckWithin(distributed, "lost_after_seconds", recipe.lost_after_seconds, 1.0, 1e6);
    });
    DataOptions data;  // what stages say nothing about
    yaml.Section("data", [&](StrictYaml& section) { ReadData(section, data); });
    yaml.Section("evaluate", [&](StrictYaml& section) { ReadEvaluation(section, recipe); });
    yaml.Section("tracking", [&](StrictYaml& tracking) {
      tracking.Require("mlflow");
      tracking.Section("mlflow", [&](StrictYaml& mlflow) {
        ReadMlflow(mlflow, &recipe.mlflow);
        Path(mlflow, "token_file", &recipe.mlflow.token_file);
      });
    });
    yaml.Require("stages");
    yaml.List("stages", [&](StrictYaml& stage) {
      recipe.stages.emplace_back().data = data;
      ReadStage(stage, recipe.stages.back());
    });
    if (recipe.stages.empty()) yaml.Fail("stages", "is empty, expected at least one stage");
    CheckBase(yaml, recipe);
    for (const StageOptions& stage : recipe.stages) {
      const bool keeps_layers =
          stage.objective == ObjectiveKind::kConversation && !stage.gradient_checkpointing;
      if (recipe.shard_weights && keeps_layers) {
        yaml.Fail("distributed",
                  absl::StrCat("shard_weights is true, expected gradient_checkpointing: "
                               "true in stage '",
                               stage.name, "', whose backward pass would keep every layer"));
      }
    }
  }

 private:
  void Path(StrictYaml& yaml, std::string_view key, std::string* path) const {
    std::string text;
    yaml.Optional(key, &text);
    if (text == "~" || text.starts_with("~/")) {  // which a shell would have expanded
      yaml.Fail(key, absl::StrCat("is '", text, "', expected a path without ~"));
    }
    if (!text.empty()) *path = (folder_ / text).lexically_normal().string();
  }

  void ReadModel(StrictYaml& yaml, ModelSource& model) const {
    Path(yaml, "checkpoint", &model.checkpoint);
    Path(yaml, "from_scratch", &model.from_scratch);
    if (model.checkpoint.empty() == model.from_scratch.empty()) {
      yaml.Fail("checkpoint", "expected exactly one of checkpoint and from_scratch");
    }
    yaml.Choice<BaseWeights>("weights",
                             {{"auto", BaseWeights::kNumbers},
                              {"int8", BaseWeights::kInt8},
                              {"int4", BaseWeights::kInt4}},
                             &model.weights);
  }

  // What codes, which never change, can be the base of.
  void CheckBase(StrictYaml& yaml, const Recipe& recipe) const {
    if (recipe.model.weights == BaseWeights::kNumbers) return;
    const std::string codes = "model.weights asks for codes, expected ";
    if (recipe.model.checkpoint.empty()) {
      yaml.Fail("model",
                codes + "model.checkpoint beside it, whose weights have learned something");
    }
    if (recipe.device != DeviceKind::kCpu) {
      yaml.Fail("device", codes + "device: cpu, GPUs do not multiply with them yet");
    }
    if (recipe.shard_weights) {
      yaml.Fail("distributed", codes + "shard_weights: false, codes are whole on every rank");
    }
    for (const StageOptions& stage : recipe.stages) {
      if (!stage.train_decoder) continue;
      if (stage.lora.rank == 0 || stage.lora.use_dora || &stage != &recipe.stages.back()) {
        yaml.Fail("stages", absl::StrCat(codes, "stage '", stage.name,
                                         "', which trains the decoder, to be the last one and to "
                                         "do so by lora, without use_dora"));
      }
    }
  }

  // What the name stands for: a pattern for each of its shards.
  void AddFiles(StrictYaml& yaml, std::string_view key, const std::string& name,
                DataOptions& data) const {
    const auto shards = ShardNames((folder_ / name).lexically_normal().string());
    if (!shards.ok()) return yaml.Fail(key, std::string(shards.status().message()));
    data.files.insert(data.files.end(), shards->begin(), shards->end());
  }

  void ReadData(StrictYaml& yaml, DataOptions& data) const {
    std::vector<std::string> files;
    yaml.Optional("files", &files);
    if (!files.empty()) {
      data.files.clear();
      data.weights.clear();
    }
    for (const std::string& file : files) AddFiles(yaml, "files", file, data);
    ReadMixture(yaml, data);
    yaml.Section("captured", [&](StrictYaml& section) { ReadCaptured(section, data.captured); });
    yaml.Section("scenes", [&](StrictYaml& scenes) { ReadScenes(scenes, data.scenes); });
    if (yaml.Has("scenes") && (yaml.Has("files") || yaml.Has("mixture") || yaml.Has("captured"))) {
      yaml.Fail("scenes", "takes the place of files: give one of them");
    }
    Path(yaml, "images", &data.images);
    Path(yaml, "labels", &data.labels);
    yaml.Optional("template", &data.chat_template);
    yaml.Choice<PictureAspect>("aspect",
                               {{"model", PictureAspect::kOfModel},
                                {"crop", PictureAspect::kCrop},
                                {"pad", PictureAspect::kPad}},
                               &data.aspect);
    yaml.Optional("split_turns", &data.split_turns);
    yaml.Optional("max_length", &data.max_length);
    yaml.Optional("group_by_length", &data.group_by_length);
    yaml.Choice<bool>("on_bad_row", {{"skip", false}, {"stop", true}}, &data.stop_on_bad_row);
    yaml.Optional("max_bad_share", &data.max_bad_share);
    CheckWithin(yaml, "max_bad_share", data.max_bad_share, 0.0, 1.0);
    yaml.Optional("workers", &data.workers);
    CheckCount(yaml, "max_length", data.max_length, 1);
    CheckCount(yaml, "workers", data.workers, 1, kMostThreads);
  }

  void ReadMixture(StrictYaml& yaml, DataOptions& data) const {
    if (!yaml.Has("mixture")) return;
    if (yaml.Has("files")) yaml.Fail("mixture", "takes the place of files: give one of them");
    data.files.clear();
    data.weights.clear();
    yaml.List("mixture", [&](StrictYaml& part) {
      std::string file;
      double weight = 1.0;
      part.Require("file");
      part.Optional("file", &file);
      part.Optional("weight", &weight);
      CheckWithin(part, "weight", weight, kLeastWeight, kMostWeight);
      AddFiles(part, "file", file, data);
      data.weights.resize(data.files.size(), weight);
    });
    if (data.files.empty() && !yaml.Has("captured") && data.captured.dir.empty()) {
      yaml.Fail("mixture", "is empty, expected at least one file");
    }
  }

  void ReadCaptured(StrictYaml& yaml, CapturedOptions& captured) const {
    yaml.Require("dir");
    Path(yaml, "dir", &captured.dir);
    std::vector<std::string> verdicts = {"up", "corrected"};
    yaml.Optional("verdicts", &verdicts);
    captured.up = captured.corrected = captured.unrated = false;
    for (const std::string& verdict : verdicts) {
      if (verdict == "up") {
        captured.up = true;
      } else if (verdict == "corrected") {
        captured.corrected = true;
      } else if (verdict == "unrated") {
        captured.unrated = true;
      } else {
        yaml.Fail("verdicts",
                  absl::StrCat("names '", verdict, "', expected up, corrected, unrated"));
      }
    }
    if (verdicts.empty()) yaml.Fail("verdicts", "is empty, expected up, corrected, unrated");
    yaml.Optional("weight", &captured.weight);
    CheckWithin(yaml, "weight", captured.weight, kLeastWeight, kMostWeight);
  }

  void ReadEvaluation(StrictYaml& yaml, Recipe& recipe) const {
    ReadExam(yaml, recipe.evaluation);
    yaml.List("guards", [&](StrictYaml& guard) { ReadExam(guard, recipe.guards.emplace_back()); });
    yaml.Choice<bool>("on_fail", {{"keep", true}, {"drop", false}}, &recipe.keep_rejected);
  }

  void ReadExam(StrictYaml& yaml, EvaluationOptions& evaluation) const {
    yaml.Section("scenes", [&](StrictYaml& scenes) { ReadScenes(scenes, evaluation.scenes); });
    Path(yaml, "file", &evaluation.file);
    Path(yaml, "images", &evaluation.images);
    yaml.Optional("limit", &evaluation.limit);
    yaml.Optional("probes", &evaluation.probes);
    CheckCount(yaml, "limit", evaluation.limit, 0);
    CheckCount(yaml, "probes", evaluation.probes, 0, kMostRepeats);
    if (yaml.Has("scenes") == yaml.Has("file")) {
      yaml.Fail("file", "expected exactly one of file and scenes");
    }
    yaml.Choice<bool>("against", {{"live", true}, {"nobody", false}}, &evaluation.against_live);
    yaml.Optional("min_delta", &evaluation.min_delta);
    yaml.Optional("confidence", &evaluation.confidence);
    CheckWithin(yaml, "min_delta", evaluation.min_delta, -1.0, 1.0);
    CheckWithin(yaml, "confidence", evaluation.confidence, 0.5, 1.0);
    ReadRequired(yaml, evaluation);
  }

  // Written as `llava-train evaluate --require` has it: "total=0.9".
  void ReadRequired(StrictYaml& yaml, EvaluationOptions& evaluation) const {
    std::vector<std::string> required;
    yaml.Optional("require", &required);
    for (const std::string& text : required) {
      const std::size_t equals = text.find('=');
      double least = 0.0;
      if (equals == text.npos || !absl::SimpleAtod(text.substr(equals + 1), &least) ||
          !(least >= 0.0 && least <= 1.0)) {
        yaml.Fail("require", absl::StrCat("names '", text, "', expected KIND=SHARE, as total=0.9"));
        return;
      }
      evaluation.require[text.substr(0, equals)] = least;
    }
  }

  void ReadScenes(StrictYaml& yaml, ScenesOptions& scenes) const {
    yaml.Require("count");
    yaml.Optional("count", &scenes.count);
    yaml.Optional("seed", &scenes.seed);
    yaml.Optional("level", &scenes.level);
    yaml.Optional("turns", &scenes.turns);
    yaml.Optional("comparisons", &scenes.comparisons);
    yaml.Optional("conversations", &scenes.conversations);
    CheckCount(yaml, "count", scenes.count, 1);
    CheckCount(yaml, "seed", scenes.seed, 0, kAnySeed);
    CheckCount(yaml, "turns", scenes.turns, 1, kMostRepeats);
    CheckCount(yaml, "comparisons", scenes.comparisons, 0, kMostRepeats);
    if (scenes.conversations && scenes.turns < 2) {
      yaml.Fail("turns",
                absl::StrCat("is ", scenes.turns, ", expected 2 or more of a conversation"));
    }
    if (!scenes::ParseLevel(scenes.level).has_value()) {
      yaml.Fail("level",
                absl::StrCat("is '", scenes.level, "', expected ",
                             absl::StrJoin(scenes::kLevels, ", ", [](std::string* out, auto name) {
                               absl::StrAppend(out, AbslView(name));
                             })));
    }
  }

  void ReadStage(StrictYaml& yaml, StageOptions& stage) const {
    yaml.Require("name");
    yaml.Optional("name", &stage.name);
    yaml.Choice<ObjectiveKind>("objective",
                               {{"conversation", ObjectiveKind::kConversation},
                                {"patch_labels", ObjectiveKind::kPatchLabels}},
                               &stage.objective);
    ReadParts(yaml, stage);
    yaml.Section("data", [&](StrictYaml& data) { ReadData(data, stage.data); });
    yaml.Section("validate", [&](StrictYaml& section) { ReadValidate(section, stage.validate); });
    if (yaml.Has("validate") && stage.objective == ObjectiveKind::kPatchLabels) {
      yaml.Fail("validate", "is for the objective conversation");
    }
    ReadLength(yaml, stage);
    ReadOptimizer(yaml, stage);
    if (stage.objective == ObjectiveKind::kPatchLabels) {
      if (!stage.train_vision_tower || stage.train_projector || stage.train_decoder) {
        yaml.Fail("train", "patch_labels trains the vision_tower and nothing else");
      }
      if (stage.data.labels.empty() && stage.data.scenes.count == 0) {
        yaml.Fail("data", "patch_labels needs data.labels or data.scenes");
      }
    } else if (stage.data.files.empty() && stage.data.scenes.count == 0 &&
               stage.data.captured.dir.empty()) {
      yaml.Fail("data", "names no files, neither here nor in the recipe's data section");
    }
  }

  void ReadParts(StrictYaml& yaml, StageOptions& stage) const {
    std::vector<std::string> parts;
    yaml.Require("train");
    yaml.Optional("train", &parts);
    for (const std::string& part : parts) {
      if (part == "vision_tower") {
        stage.train_vision_tower = true;
      } else if (part == "projector") {
        stage.train_projector = true;
      } else if (part == "decoder") {
        stage.train_decoder = true;
      } else {
        yaml.Fail("train",
                  absl::StrCat("names '", part, "', expected vision_tower, projector, decoder"));
      }
    }
    if (parts.empty()) yaml.Fail("train", "names no part to train");
    yaml.Optional("gradient_checkpointing", &stage.gradient_checkpointing);
    yaml.Optional("neftune_alpha", &stage.neftune_alpha);
    CheckWithin(yaml, "neftune_alpha", stage.neftune_alpha, 0.0, 1000.0);
    if (yaml.Has("neftune_alpha") && stage.objective == ObjectiveKind::kPatchLabels) {
      yaml.Fail("neftune_alpha", "is for the objective conversation, which has texts");
    }
    yaml.Section("lora", [&](StrictYaml& lora) { ReadLora(lora, stage.lora); });
    if (yaml.Has("lora") && !stage.train_decoder) {
      yaml.Fail("lora", "adapts the decoder, which this stage does not train");
    }
  }

  void ReadValidate(StrictYaml& yaml, ValidateOptions& validate) const {
    yaml.Optional("share", &validate.share);
    yaml.Optional("rows", &validate.rows);
    Path(yaml, "file", &validate.file);
    Path(yaml, "images", &validate.images);
    const int sources = static_cast<int>(yaml.Has("share")) + static_cast<int>(yaml.Has("rows")) +
                        static_cast<int>(yaml.Has("file"));
    if (sources != 1) yaml.Fail("share", "expected exactly one of share, rows and file");
    if (yaml.Has("share")) CheckWithin(yaml, "share", validate.share, 1e-6, 0.9);
    if (yaml.Has("rows")) CheckCount(yaml, "rows", validate.rows, 1);
    if (yaml.Has("images") && !yaml.Has("file")) yaml.Fail("images", "goes with file");
    yaml.Require("every_steps");
    yaml.Optional("every_steps", &validate.every);
    yaml.Optional("samples", &validate.samples);
    yaml.Optional("patience", &validate.patience);
    CheckCount(yaml, "every_steps", validate.every, 1);
    CheckCount(yaml, "samples", validate.samples, 0, 100);
    CheckCount(yaml, "patience", validate.patience, 0);
    yaml.Choice<bool>("keep", {{"best", true}, {"last", false}}, &validate.keep_best);
  }

  void ReadLora(StrictYaml& yaml, LoraOptions& lora) const {
    std::vector<std::string> known = lora.targets;
    known.insert(known.end(), {"qkv_proj", "gate_up_proj"});
    yaml.Require("r");
    yaml.Optional("r", &lora.rank);
    yaml.Optional("alpha", &lora.alpha);
    yaml.Optional("dropout", &lora.dropout);
    yaml.Optional("use_dora", &lora.use_dora);
    yaml.Optional("targets", &lora.targets);
    CheckCount(yaml, "r", lora.rank, 1);
    CheckAtLeast(yaml, "alpha", lora.alpha, 0.0);
    CheckWithin(yaml, "dropout", lora.dropout, 0.0, 0.99);
    if (lora.targets.empty()) yaml.Fail("targets", "names no layer");
    for (const std::string& target : lora.targets) {
      if (std::find(known.begin(), known.end(), target) != known.end()) continue;
      yaml.Fail("targets", absl::StrCat("names '", target, "', expected some of ",
                                        absl::StrJoin(known, ", ")));
    }
  }

  void ReadLength(StrictYaml& yaml, StageOptions& stage) const {
    if (yaml.Has("steps") == yaml.Has("epochs")) {
      yaml.Fail("steps", "expected exactly one of steps and epochs");
    }
    yaml.Optional("epochs", &stage.epochs);
    yaml.Optional("steps", &stage.steps);
    yaml.Require("batch");
    yaml.Optional("batch", &stage.batch);
    yaml.Optional("micro_batch", &stage.micro_batch);
    CheckCount(yaml, "epochs", stage.epochs, 1, kMostRepeats);
    if (yaml.Has("steps")) CheckCount(yaml, "steps", stage.steps, 1);
    CheckCount(yaml, "batch", stage.batch, 1, kMostRepeats);
    CheckCount(yaml, "micro_batch", stage.micro_batch, 0, kMostRepeats);
  }

  void ReadOptimizer(StrictYaml& yaml, StageOptions& stage) const {
    yaml.Require("rate");
    yaml.Optional("rate", &stage.rate);
    yaml.Optional("projector_rate", &stage.projector_rate);
    yaml.Optional("vision_tower_rate", &stage.vision_tower_rate);
    yaml.Optional("weight_decay", &stage.weight_decay);
    yaml.Optional("beta1", &stage.beta1);
    yaml.Optional("beta2", &stage.beta2);
    yaml.Optional("eps", &stage.eps);
    yaml.Optional("clip_norm", &stage.clip_norm);
    yaml.Choice<ScheduleKind>("schedule",
                              {{"cosine", ScheduleKind::kCosine},
                               {"linear", ScheduleKind::kLinear},
                               {"constant", ScheduleKind::kConstant}},
                              &stage.schedule.kind);
    yaml.Optional("warmup_ratio", &stage.schedule.warmup_ratio);
    yaml.Optional("rate_floor", &stage.schedule.floor);
    for (const auto& [key, value] :
         {std::pair{"rate", stage.rate}, std::pair{"projector_rate", stage.projector_rate},
          std::pair{"vision_tower_rate", stage.vision_tower_rate},
          std::pair{"weight_decay", stage.weight_decay}, std::pair{"eps", stage.eps},
          std::pair{"clip_norm", stage.clip_norm}}) {
      CheckAtLeast(yaml, key, value, 0.0);
    }
    CheckWithin(yaml, "beta1", stage.beta1, 0.0, 0.999999);
    CheckWithin(yaml, "beta2", stage.beta2, 0.0, 0.999999);
    CheckWithin(yaml, "warmup_ratio", stage.schedule.warmup_ratio, 0.0, 1.0);
    CheckWithin(yaml, "rate_floor", stage.schedule.floor, 0.0, 1.0);
  }

  const std::filesystem::path folder_;
};

}  // namespace

std::string RecipeDigest(const Recipe& recipe, std::int64_t stages) {
  const std::int64_t known = std::min<std::int64_t>(stages, std::ssize(recipe.stage_digests));
  return known > 0 ? recipe.stage_digests[known - 1] : "";
}

absl::StatusOr<Recipe> ParseRecipe(const std::string& text, const std::string& file) {
  ASSIGN_OR_RETURN(StrictYaml yaml, StrictYaml::Parse(text, file));
  Recipe recipe;
  recipe.file = file;
  recipe.text = text;
  Reader(file).Read(yaml, recipe);
  RETURN_IF_ERROR(yaml.Finish());
  const YAML::Node root = WithoutIdleKeys(YAML::Load(text));
  recipe.stage_digests = StageDigests(root);
  recipe.settings = SettingsOf(root);
  if (recipe.publish.empty()) {
    recipe.publish = (std::filesystem::path(recipe.output) / "published").string();
  }
  return recipe;
}

absl::StatusOr<Recipe> ReadRecipe(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxRecipeBytes));
  return ParseRecipe(text, file);
}

}  // namespace llava::training
