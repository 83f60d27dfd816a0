#include "training/memory/memory_table.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "model/config/image_layout.h"
#include "model/network/llava.h"
#include "training/memory/backward_pass.h"
#include "training/objective/feature_cache.h"
#include "training/optim/adapters.h"
#include "training/optim/trainer.h"
#include "training/optim/weight_shards.h"

namespace llava::training {
namespace {

constexpr std::int64_t kFloat = 4;  // bytes
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr std::int64_t kAdvisedRank = 64;

// Weights that are shapes alone.
class Shapes final : public model::WeightSource {
 public:
  at::Tensor Take(const std::string& name, const std::vector<std::int64_t>& shape) override {
    at::Tensor tensor = at::empty(shape, at::TensorOptions(at::kFloat).device(at::kMeta));
    Keep(name, tensor);
    return tensor;
  }
};

// The model's weights and what a stage learns of it.
struct Parameters {
  std::int64_t weights = 0;  // elements, adapters included, but for codes
  std::int64_t code_bytes = 0;
  std::map<int, std::int64_t> matrices;  // of each layer of the decoder, in all
  std::vector<LearnedParameter> learned;
  std::map<std::string, std::int64_t> trained;  // elements of the weights among them
  std::map<std::string, std::int64_t> adapted;  // and of those that adapters are merged into
};

// Bytes of a matrix of codes; nothing where it is of numbers.
std::optional<std::int64_t> CodeBytes(BaseWeights weights, const model::Linear& layer) {
  if (weights == BaseWeights::kNumbers) return std::nullopt;
  const auto format =
      weights == BaseWeights::kInt4 ? model::WeightFormat::kInt4 : model::WeightFormat::kInt8;
  return model::QuantizedMatrix::Bytes(format, layer.out_features(), layer.in_features());
}

Parameters ParametersOf(const Recipe& recipe, const StageOptions& stage,
                        const model::LlavaConfig& config) {
  Shapes shapes;
  model::Llava model(config, shapes);
  Parameters parameters;
  for (const auto& [name, weight] : model.weights()) {
    parameters.weights += weight.numel();
    const std::optional<int> layer = ShardedLayer(name, weight);
    if (layer.has_value()) parameters.matrices[*layer] += weight.numel();
  }
  const auto learn = [&](const std::string& name, std::int64_t elements) {
    parameters.learned.push_back({name, elements, BlockOf(name, config, stage)});
  };
  for (const ParameterGroup& group : SelectParameters(stage, model, {})) {
    for (const model::NamedTensor& parameter : group.parameters) {
      learn(parameter.name, parameter.tensor.numel());
      parameters.trained[parameter.name] = parameter.tensor.numel();
    }
  }
  model.decoder().ForEachLinear([&](const std::string& name, model::Linear& layer) {
    if (const auto bytes = CodeBytes(recipe.model.weights, layer)) {
      parameters.weights -= layer.in_features() * layer.out_features();
      parameters.code_bytes += *bytes;
    }
    if (!stage.train_decoder || !IsTarget(name, stage.lora)) return;
    const std::int64_t rank = stage.lora.rank;
    learn(name + ".lora_A.weight", rank * layer.in_features());
    learn(name + ".lora_B.weight", rank * layer.out_features());
    parameters.weights += rank * (layer.in_features() + layer.out_features());
    if (stage.lora.use_dora) {
      learn(name + ".lora_magnitude_vector", layer.out_features());
      parameters.weights += layer.out_features();
    }
    parameters.adapted[name] = layer.in_features() * layer.out_features();
  });
  return parameters;
}

// Elements of the weights that a rank has while it computes a layer.
std::int64_t WeightsHeld(const Recipe& recipe, const StageOptions& stage,
                         const Parameters& parameters, int ranks) {
  const bool reads_decoder = stage.objective == ObjectiveKind::kConversation;
  if (!recipe.shard_weights || ranks == 1 || !reads_decoder) return parameters.weights;
  std::int64_t all = 0, largest = 0;
  for (const auto& [layer, elements] : parameters.matrices) {
    all += elements;
    largest = std::max(largest, elements);
  }
  // Its share, and what others have of two layers.
  const std::int64_t fetched = 2 * largest - 2 * largest / ranks;
  return parameters.weights - all + std::min(all, all / ranks + fetched);
}

// Of the tower that does not learn, so that it runs once a picture.
std::int64_t KeptFeatures(const Recipe& recipe, const StageOptions& stage,
                          const model::LlavaConfig& config, const PassShape& pass) {
  if (stage.objective != ObjectiveKind::kConversation || stage.train_vision_tower) return 0;
  const std::int64_t picture =
      pass.tiles / std::max<std::int64_t>(1, pass.rows) * TileFeatureBytes(config, recipe);
  const std::int64_t pictures = stage.data.scenes.count;
  if (pictures == 0) return FeatureCache::kStageBytes;
  return std::min(FeatureCache::kStageBytes, pictures * picture);
}

std::int64_t Sum(const std::map<std::string, std::int64_t>& elements) {
  std::int64_t sum = 0;
  for (const auto& [name, count] : elements) sum += count;
  return sum;
}

// This rank's share of a state, which is copied before it is written: the weights that the stages
// up to this one change, this one's adapters, and the optimizer's state.
std::int64_t CopiedBytes(const Recipe& recipe, const StageOptions& stage,
                         const model::LlavaConfig& config, const Parameters& parameters,
                         std::int64_t owned, int ranks) {
  std::map<std::string, std::int64_t> weights = parameters.trained;
  for (const StageOptions& earlier : recipe.stages) {
    if (earlier.name == stage.name) break;
    const Parameters before = ParametersOf(recipe, earlier, config);
    weights.insert(before.trained.begin(), before.trained.end());
    weights.insert(before.adapted.begin(), before.adapted.end());
  }
  std::int64_t learned = 0;
  for (const LearnedParameter& parameter : parameters.learned) learned += parameter.elements;
  const std::int64_t adapters = learned - Sum(parameters.trained);
  const std::int64_t alike = (Sum(weights) + adapters) * ElementBytes(recipe);
  const std::int64_t optimizer = (ElementBytes(recipe) < kFloat ? 3 : 2) * kFloat;
  if (recipe.shard && ranks > 1) return alike / ranks + optimizer * owned;
  return (alike + optimizer * learned) / ranks;
}

std::int64_t RowsOfPass(const StageOptions& stage, int ranks) {
  const std::int64_t parts = ranks * PassesPerStep(stage, ranks);
  return (stage.batch + parts - 1) / parts;
}

// Tiles and tokens of the largest picture.
model::ImageLayout LargestPicture(const model::LlavaConfig& config, const StageOptions& stage) {
  model::ImageLayout most = {.tiles = 1, .tokens = config.tile_tokens()};
  if (stage.data.aspect != PictureAspect::kOfModel) return most;
  for (const model::Resolution& pinpoint : config.anyres.pinpoints) {
    const model::ImageLayout layout =
        model::LayoutOf(config, {.width = pinpoint.width, .height = pinpoint.height});
    if (layout.tokens > most.tokens) most = layout;
  }
  return most;
}

std::int64_t Usable(const MemoryQuestion& question) {
  return static_cast<std::int64_t>(kUsableShare * static_cast<double>(question.device_bytes));
}

std::string Size(std::int64_t bytes) {
  const double size = static_cast<double>(bytes) / kGiB;
  return size < 1.0 ? absl::StrFormat("%.2f MiB", 1024 * size) : absl::StrFormat("%.2f GiB", size);
}

// Looks for the first changes of a stage with which it fits.
class Adviser {
 public:
  Adviser(const Recipe& recipe, const StageOptions& stage, const model::LlavaConfig& config,
          const MemoryQuestion& question)
      : recipe_(recipe), stage_(stage), config_(config), question_(question) {}

  std::string Run() {
    const std::int64_t needed = Need(recipe_, stage_);
    const std::string begin = absl::StrCat(
        "stage ", stage_.name, " needs ", Size(needed), ", more than the ", Size(Usable(question_)),
        " that are counted on of ", Size(question_.device_bytes), ": ");
    least_ = needed;
    TryAll();
    const std::string made = absl::StrJoin(made_, ", ");
    if (least_ <= Usable(question_)) {
      return absl::StrCat(begin, "it fits with ", made, " (", Size(least_), ")");
    }
    return absl::StrCat(
        begin,
        made.empty() ? "" : absl::StrCat("with ", made, " it still needs ", Size(least_), "; "),
        "take a larger device, more ranks with distributed: {shard: true}, or a "
        "smaller model");
  }

 private:
  std::int64_t Need(const Recipe& recipe, const StageOptions& stage) const {
    const PassShape pass = LargestPass(config_, stage, question_.ranks, question_.row_tokens);
    return MemoryOfStage(recipe, stage, config_, question_.ranks, pass).all();
  }

  // Keeps a change that makes a difference.
  void Try(const std::string& text, const Recipe& recipe, const StageOptions& stage) {
    const std::int64_t needed = Need(recipe, stage);
    if (least_ <= Usable(question_) || needed > least_ - least_ / 100) return;
    recipe_ = recipe;
    stage_ = stage;
    least_ = needed;
    made_.push_back(text);
  }

  void TryAll() {
    if (stage_.objective == ObjectiveKind::kConversation) {
      StageOptions stage = stage_;
      stage.gradient_checkpointing = true;
      Try("gradient_checkpointing: true", recipe_, stage);
    }
    TryFewerRows();
    Recipe recipe = recipe_;
    recipe.shard = true;
    Try("distributed: {shard: true}", recipe, stage_);
    if (stage_.gradient_checkpointing) {
      recipe = recipe_;
      recipe.shard = recipe.shard_weights = true;
      Try("distributed: {shard: true, shard_weights: true}", recipe, stage_);
    }
    recipe = recipe_;
    recipe.precision = Precision::kBfloat16;
    Try("precision: bf16", recipe, stage_);
    if (stage_.train_decoder && stage_.lora.rank == 0) {
      StageOptions stage = stage_;
      stage.lora.rank = kAdvisedRank;
      Try(absl::StrCat("lora: {r: ", kAdvisedRank, "}"), recipe_, stage);
    }
  }

  // The most rows with which it fits, or one.
  void TryFewerRows() {
    StageOptions stage = stage_;
    std::int64_t rows = RowsOfPass(stage_, question_.ranks);
    while (rows > 1) {
      rows /= 2;
      stage.micro_batch = rows;
      if (Need(recipe_, stage) <= Usable(question_)) break;
    }
    if (rows < RowsOfPass(stage_, question_.ranks)) {
      Try(absl::StrCat("micro_batch: ", rows), recipe_, stage);
    }
  }

  Recipe recipe_;
  StageOptions stage_;
  const model::LlavaConfig& config_;
  const MemoryQuestion& question_;
  std::int64_t least_ = 0;
  std::vector<std::string> made_;
};

}  // namespace

std::int64_t StageMemory::all() const {
  std::int64_t bytes = 0;
  for (const MemoryRow& row : rows) bytes += row.bytes;
  return bytes;
}

PassShape LargestPass(const model::LlavaConfig& config, const StageOptions& stage, int ranks,
                      std::int64_t row_tokens) {
  std::int64_t tokens = row_tokens > 0 ? row_tokens : stage.data.max_length;
  if (config.text.max_positions > 0) {
    tokens = std::min<std::int64_t>(tokens, config.text.max_positions);
  }
  const model::ImageLayout picture = LargestPicture(config, stage);
  const std::int64_t rows = RowsOfPass(stage, ranks);
  PassShape pass{.rows = rows, .tiles = rows * picture.tiles};
  if (stage.objective == ObjectiveKind::kPatchLabels) return pass;
  pass.tokens = rows * tokens;
  pass.labels = rows * std::max<std::int64_t>(1, tokens - picture.tokens);
  return pass;
}

StageMemory MemoryOfStage(const Recipe& recipe, const StageOptions& stage,
                          const model::LlavaConfig& config, int ranks, const PassShape& pass) {
  const Parameters parameters = ParametersOf(recipe, stage, config);
  const GradientRules rules{.element_bytes = ElementBytes(recipe),
                            .ranks = ranks,
                            .sharded = recipe.shard,
                            .passes = PassesPerStep(stage, ranks)};
  const PassMemory most =
      MostOfStep(ActivationsOf(config, recipe, stage, pass), parameters.learned, rules);
  const std::vector<bool> is_owned = OwnedByHeaviest(parameters.learned, rules);
  std::int64_t owned = 0;
  for (std::size_t i = 0; i < is_owned.size(); ++i) {
    if (is_owned[i]) owned += parameters.learned[i].elements;
  }
  StageMemory memory{.name = stage.name, .pass = pass, .passes = rules.passes};
  memory.moment = most.moment;
  memory.rows = {{"weights", WeightsHeld(recipe, stage, parameters, ranks) * rules.element_bytes +
                                 parameters.code_bytes},
                 {"fp32 copies of learned weights",
                  recipe.precision == Precision::kFloat32 ? 0 : kFloat * owned},
                 {"optimizer state", 2 * kFloat * owned},
                 {"gradients", most.gradients},
                 {"fp32 sums of gradients", most.sums},
                 {"gradients on their way", most.sent},
                 {"activations", most.activations},
                 {"copies while weights are updated", most.working},
                 {"features of pictures, at most", KeptFeatures(recipe, stage, config, pass)}};
  const std::int64_t copied = CopiedBytes(recipe, stage, config, parameters, owned, ranks);
  if (recipe.device == DeviceKind::kCpu) {
    memory.rows.push_back({"copy of a state that is written", copied});
  } else {
    memory.host_bytes = copied;
  }
  return memory;
}

MemoryTable MakeMemoryTable(const Recipe& recipe, const model::LlavaConfig& config,
                            const MemoryQuestion& question) {
  MemoryTable table{.question = question, .stages = {}, .advice = {}};
  for (const StageOptions& stage : recipe.stages) {
    const PassShape pass = LargestPass(config, stage, question.ranks, question.row_tokens);
    table.stages.push_back(MemoryOfStage(recipe, stage, config, question.ranks, pass));
    if (table.stages.back().all() <= Usable(question)) continue;
    table.advice.push_back(Adviser(recipe, stage, config, question).Run());
  }
  return table;
}

absl::StatusOr<MemoryTable> DescribeMemory(const Recipe& recipe, const MemoryQuestion& question) {
  const std::string& folder =
      recipe.model.checkpoint.empty() ? recipe.model.from_scratch : recipe.model.checkpoint;
  ASSIGN_OR_RETURN(const model::LlavaConfig config, model::ReadConfig(folder));
  return MakeMemoryTable(recipe, config, question);
}

std::string ToText(const MemoryTable& table) {
  std::string text;
  for (const StageMemory& stage : table.stages) {
    absl::StrAppendFormat(&text, "stage %s, on each of %d ranks %d passes a step", stage.name,
                          table.question.ranks, stage.passes);
    absl::StrAppendFormat(&text, ", of at most %d rows, %d tokens, %d labels, %d tiles\n",
                          stage.pass.rows, stage.pass.tokens, stage.pass.labels, stage.pass.tiles);
    for (const MemoryRow& row : stage.rows) {
      if (row.bytes == 0) continue;
      absl::StrAppendFormat(&text, "  %-34s%14s\n", row.what, Size(row.bytes));
    }
    absl::StrAppendFormat(&text, "  %-34s%14s\n", "all, when it is most", Size(stage.all()));
    absl::StrAppend(&text, "  that is at ", stage.moment, "\n");
    if (stage.host_bytes > 0) {
      absl::StrAppend(&text, "  and of the machine's memory ", Size(stage.host_bytes),
                      " for a copy of a state that is written\n");
    }
  }
  if (table.fits()) {
    absl::StrAppend(&text, "fits: a device has ", Size(table.question.device_bytes), ", of which ",
                    Size(Usable(table.question)), " are counted on\n");
  }
  return text;
}

std::string ToJson(const MemoryTable& table) {
  boost::json::array stages;
  for (const StageMemory& stage : table.stages) {
    boost::json::array rows;
    for (const MemoryRow& row : stage.rows) {
      rows.push_back({{"what", row.what}, {"bytes", row.bytes}});
    }
    stages.push_back({{"name", stage.name},
                      {"passes", stage.passes},
                      {"rows", stage.pass.rows},
                      {"tokens", stage.pass.tokens},
                      {"labels", stage.pass.labels},
                      {"tiles", stage.pass.tiles},
                      {"moment", stage.moment},
                      {"memory", std::move(rows)},
                      {"bytes", stage.all()},
                      {"host_bytes", stage.host_bytes}});
  }
  return boost::json::serialize(
      boost::json::object{{"ranks", table.question.ranks},
                          {"device_bytes", table.question.device_bytes},
                          {"usable_bytes", Usable(table.question)},
                          {"fits", table.fits()},
                          {"stages", std::move(stages)},
                          {"advice", boost::json::value_from(table.advice)}});
}

}  // namespace llava::training
