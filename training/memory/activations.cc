#include "training/memory/activations.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/config/decoder_products.h"
#include "model/network/linear.h"
#include "training/optim/adapters.h"
#include "training/optim/gradient_buckets.h"

namespace llava::training {
namespace {

constexpr std::int64_t kFloat = 4;  // bytes

std::int64_t TowerBlocks(const model::LlavaConfig& config) {
  const std::vector<int> layers = config.FeatureLayerIndices();
  return *std::max_element(layers.begin(), layers.end());
}

// Rows that the tower computes of a tile.
std::int64_t TowerRows(const model::VisionConfig& vision) {
  return vision.patches() + (vision.tower == model::VisionConfig::Tower::kClip ? 1 : 0);
}

class Formulas {
 public:
  Formulas(const model::LlavaConfig& config, const Recipe& recipe, const StageOptions& stage,
           const PassShape& pass)
      : config_(config),
        stage_(stage),
        pass_(pass),
        bytes_(ElementBytes(recipe)),
        codes_(recipe.model.weights != BaseWeights::kNumbers),
        fused_norm_(recipe.device == DeviceKind::kCuda) {}

  std::vector<BlockMemory> Blocks() const {
    std::vector<BlockMemory> blocks;
    if (stage_.objective == ObjectiveKind::kPatchLabels) {
      blocks.push_back({.name = "loss"});
    } else {
      blocks = {Loss(), Head()};
      for (int i = config_.text.num_layers; i-- > 0;) blocks.push_back(DecoderLayer(i));
      blocks.push_back(DecoderInput());
    }
    for (std::int64_t i = TowerBlocks(config_); i-- > 0;) blocks.push_back(TowerLayer(i));
    blocks.push_back(TowerInput());
    return blocks;
  }

 private:
  bool decoder_learns() const { return stage_.train_decoder && stage_.lora.rank == 0; }

  // Whether that layer of the decoder keeps its input: for its own gradient or its adapter's.
  bool Keeps(const std::string& layer) const {
    return decoder_learns() || IsTarget("language_model.model.layers.0." + layer, stage_.lora);
  }

  // RmsNorm::Forward of `rows` rows of `size`: the input in fp32 (which is the input itself when
  // that is fp32) and its scale; where the weight learns, also the normed rows. The kernel for GPUs
  // keeps the input and the scale.
  std::int64_t Norm(std::int64_t rows, std::int64_t size) const {
    if (fused_norm_) return rows * (size * bytes_ + kFloat);
    return rows * (size * kFloat + kFloat) + (decoder_learns() ? rows * size * bytes_ : 0);
  }

  // Scores of the labels in fp32: what log_softmax gives stays; in the backward pass their
  // gradient is there twice, in the forward pass the scores and what the last layer gave.
  BlockMemory Loss() const {
    const std::int64_t scores = pass_.labels * config_.text.vocab_size;
    const std::int64_t forward = scores * (kFloat + (bytes_ < kFloat ? bytes_ : 0)) +
                                 2 * pass_.tokens * config_.text.hidden_size * bytes_;
    return {.name = "the loss",
            .kept = kFloat * scores,
            .working = std::max(2 * kFloat * scores, forward)};
  }

  BlockMemory Head() const {
    const std::int64_t size = config_.text.hidden_size;
    const std::int64_t rows = decoder_learns() ? pass_.labels * size * bytes_ : 0;
    return {.name = "the head",
            .kept = Norm(pass_.tokens, size) + rows,
            .working = bytes_ * pass_.labels * (config_.text.vocab_size + size) +
                       bytes_ * pass_.tokens * size};
  }

  // Queries, keys and values as attention reads them, what it gives, and its fp32 sums; where rows
  // differ in length each has a call of its own, and the results are put together.
  std::int64_t Attention() const {
    const model::TextConfig& text = config_.text;
    const std::int64_t width = std::int64_t{text.num_heads} * text.head_dim;
    std::int64_t bytes = pass_.tokens * (4 * width * bytes_ + kFloat * text.num_heads);
    if (pass_.rows > 1 && Keeps("self_attn.o_proj")) bytes += pass_.tokens * width * bytes_;
    if (text.qk_norm) {
      bytes += Norm(pass_.tokens * (text.num_heads + text.num_kv_heads), text.head_dim);
    }
    return bytes;
  }

  // The gate's activation, before and after, what they are multiplied with, and the product.
  std::int64_t Mlp() const {
    const std::int64_t inner = pass_.tokens * config_.text.intermediate_size * bytes_;
    return 3 * inner + (Keeps("mlp.down_proj") ? inner : 0);
  }

  // What is multiplied by the factors of magnitudes.
  std::int64_t Sums() const {
    std::int64_t width = 0;
    for (const model::DecoderProduct& product : model::DecoderProducts(config_.text)) {
      if (Keeps(std::string(product.name))) width += product.out;
    }
    return pass_.tokens * width * bytes_;
  }

  // Of the matrix of codes that takes most: rows of numbers, and what they give of the gradient of
  // its input, both also in fp32 where passes are not.
  std::int64_t Decoded() const {
    std::int64_t most = 0;
    for (const model::DecoderProduct& product : model::DecoderProducts(config_.text)) {
      const std::int64_t rows = std::min(model::kDecodedRows, product.out) + pass_.tokens;
      most = std::max(most, rows * product.in);
    }
    return most * (kFloat + (bytes_ < kFloat ? bytes_ : 0));
  }

  BlockMemory DecoderLayer(int index) const {
    const std::int64_t hidden = pass_.tokens * config_.text.hidden_size;
    std::int64_t kept = 2 * Norm(pass_.tokens, config_.text.hidden_size) + Attention() + Mlp();
    if (Keeps("self_attn.q_proj") || Keeps("self_attn.k_proj") || Keeps("self_attn.v_proj")) {
      kept += hidden * bytes_;
    }
    if (Keeps("mlp.gate_proj") || Keeps("mlp.up_proj")) kept += hidden * bytes_;
    if (stage_.lora.use_dora) kept += Sums();
    // Gradients of the result, of the product in the MLP and of both its factors; the product is
    // gone by then.
    const std::int64_t working =
        2 * bytes_ * (hidden + pass_.tokens * config_.text.intermediate_size) +
        (codes_ ? Decoded() : 0);
    BlockMemory block{.name = absl::StrCat("the decoder's layer ", index)};
    const bool again = stage_.gradient_checkpointing;
    block.kept = again ? hidden * bytes_ : kept;
    block.working = again ? kept + working : working;
    return block;
  }

  // What the projector's layers read, and the angles of the rotations, which all layers share.
  BlockMemory DecoderInput() const {
    const model::TextConfig& text = config_.text;
    const std::int64_t features = pass_.tiles * config_.tile_tokens();
    const std::int64_t rotated = text.rope.rotated != 0 ? text.rope.rotated : text.head_dim;
    BlockMemory block{.name = "the decoder's input", .kept = pass_.tokens * rotated * kFloat};
    if (stage_.train_projector) {
      const std::int64_t between = 2 * (config_.projector.depth - 1) * text.hidden_size;
      block.kept += features * bytes_ * (config_.projector_input_size() + between);
      if (config_.projector.input_norm) {
        block.kept += features * bytes_ * config_.projector_input_size();
      }
    }
    block.working = bytes_ * text.hidden_size * (3 * pass_.tokens + 2 * features);
    return block;
  }

  std::int64_t tower_rows() const { return pass_.tiles * TowerRows(config_.vision); }

  // Inputs and outputs of both norms; queries, keys, values and what attention gives, with its fp32
  // sums; the MLP's inner rows before and after the activation (quick GELU: also the sigmoid).
  BlockMemory TowerLayer(std::int64_t index) const {
    const model::VisionConfig& vision = config_.vision;
    BlockMemory block{.name = absl::StrCat("the tower's layer ", index)};
    if (!stage_.train_vision_tower) return block;
    const std::int64_t inner = vision.hidden_act == model::Activation::kQuickGelu ? 3 : 2;
    const std::int64_t row = 8 * vision.hidden_size + inner * vision.intermediate_size;
    block.kept = tower_rows() * (row * bytes_ + kFloat * (vision.num_heads + 4));
    block.working = tower_rows() * bytes_ * (2 * vision.intermediate_size + vision.hidden_size);
    return block;
  }

  BlockMemory TowerInput() const {
    const model::VisionConfig& vision = config_.vision;
    BlockMemory block{.name = "the tower's input"};
    if (!stage_.train_vision_tower) return block;
    const std::int64_t side = vision.image_size;
    block.kept = bytes_ * (pass_.tiles * 3 * side * side + tower_rows() * vision.hidden_size);
    block.working = 2 * bytes_ * tower_rows() * vision.hidden_size;
    return block;
  }

  const model::LlavaConfig& config_;
  const StageOptions& stage_;
  const PassShape& pass_;
  const std::int64_t bytes_;
  const bool codes_;
  const bool fused_norm_;
};

}  // namespace

std::vector<BlockMemory> ActivationsOf(const model::LlavaConfig& config, const Recipe& recipe,
                                       const StageOptions& stage, const PassShape& pass) {
  return Formulas(config, recipe, stage, pass).Blocks();
}

std::size_t BlockOf(const std::string& parameter, const model::LlavaConfig& config,
                    const StageOptions& stage) {
  const ModelDepth depth = DepthOf(parameter);
  const bool only_tower = stage.objective == ObjectiveKind::kPatchLabels;
  // Blocks before the tower's layers, and of the decoder.
  const std::int64_t layers = only_tower ? -2 : config.text.num_layers;
  const std::int64_t input = 2 + layers;
  std::int64_t block = 0;
  switch (depth.part) {
    case ModelDepth::Part::kHead:
    case ModelDepth::Part::kDecoderEnd:
      block = only_tower ? 0 : 1;
      break;
    case ModelDepth::Part::kDecoderLayers:
      block = 1 + layers - depth.layer;
      break;
    case ModelDepth::Part::kDecoderInput:
    case ModelDepth::Part::kProjector:
      block = input;
      break;
    case ModelDepth::Part::kTowerLayers:
      block = input + TowerBlocks(config) - depth.layer;
      break;
    case ModelDepth::Part::kTowerInput:
      block = input + TowerBlocks(config) + 1;
      break;
  }
  return static_cast<std::size_t>(block);
}

std::int64_t TileFeatureBytes(const model::LlavaConfig& config, const Recipe& recipe) {
  return TowerRows(config.vision) * config.projector_input_size() * ElementBytes(recipe);
}

std::int64_t ElementBytes(const Recipe& recipe) {
  return recipe.precision == Precision::kFloat32 ? 4 : 2;
}

}  // namespace llava::training
