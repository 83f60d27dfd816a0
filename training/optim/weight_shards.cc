#include "training/optim/weight_shards.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "base/check.h"
#include "model/checkpoint/weight_names.h"

namespace llava::training {
namespace {

// The shape of the weight, and no memory.
at::Tensor NotThere(const at::Tensor& weight) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  return at::full({}, kNaN, weight.options().requires_grad(false)).expand(weight.sizes());
}

}  // namespace

std::optional<int> ShardedLayer(std::string_view name, const at::Tensor& weight) {
  const std::string prefix = std::string(model::kLanguagePrefix).append("layers.");
  if (!name.starts_with(prefix) || weight.dim() < 2) return std::nullopt;
  name.remove_prefix(prefix.size());
  int layer = 0;
  const std::string_view number = name.substr(0, name.find('.'));
  if (!absl::SimpleAtoi(absl::string_view(number.data(), number.size()), &layer)) {
    return std::nullopt;
  }
  return layer;
}

WeightShards::WeightShards(Ranks& ranks, model::Llava& model, const GradientSync& sync)
    : ranks_(ranks), model_(model) {
  LLAVA_CHECK_GT(ranks.size(), 1);
  std::vector<std::int64_t> load(static_cast<std::size_t>(ranks.size()), 0);
  for (const auto& [name, weight] : model.weights()) {
    const std::optional<int> number = ShardedLayer(name, weight);
    if (!number.has_value()) continue;
    int owner = sync.OwnerOf(name);
    if (owner < 0) {
      const auto least = std::min_element(load.begin(), load.end());
      owner = static_cast<int>(least - load.begin());
      *least += weight.numel();
    }
    owners_[name] = owner;
    layers_.resize(std::max(layers_.size(), static_cast<std::size_t>(*number) + 1));
    layers_[static_cast<std::size_t>(*number)].matrices.push_back({weight, owner});
  }
  const at::NoGradGuard no_grad;
  for (Layer& layer : layers_) {
    for (const Matrix& matrix : layer.matrices) {
      if (matrix.owner == ranks_.rank()) {
        // What is broadcast lies in one piece, and is no part of a file or of another tensor.
        matrix.weight.set_data(matrix.weight.clone(at::MemoryFormat::Contiguous));
      }
    }
  }
  all_ = true;
  DropAll();
  model_.decoder().set_hold([this](int layer) { return Hold(layer); });
}

WeightShards::~WeightShards() { model_.decoder().set_hold(nullptr); }

int WeightShards::OwnerOf(std::string_view name) const {
  const auto found = owners_.find(name);
  return found == owners_.end() ? -1 : found->second;
}

// The layers in the order in which a pass reads them.
int WeightShards::LayerAt(int place) const {
  const int count = static_cast<int>(layers_.size());
  return place < count ? place : 2 * count - 1 - place;
}

// The layer is there until the result goes, and the next one is on its way. Whether that is the
// layer above or below follows from how many holds this pass has had.
std::shared_ptr<const void> WeightShards::Hold(int layer) {
  if (all_) return nullptr;
  const int places = 2 * static_cast<int>(layers_.size());
  LLAVA_CHECK_LT(place_, places);
  LLAVA_CHECK_EQ(layer, LayerAt(place_));
  Layer& held = layers_[static_cast<std::size_t>(layer)];
  if (place_ == 0) BeginFetch(held);
  if (++place_ < places) BeginFetch(layers_[static_cast<std::size_t>(LayerAt(place_))]);
  EndFetch(held);
  return {&held, [this, &held](const void*) { Drop(held); }};
}

// All ranks begin the same transfers in the same order.
void WeightShards::BeginFetch(Layer& layer) {
  if (layer.holders++ > 0) return;
  for (Matrix& matrix : layer.matrices) {
    const bool is_owner = matrix.owner == ranks_.rank();
    matrix.arriving =
        is_owner ? matrix.weight.detach()
                 : at::empty(matrix.weight.sizes(), matrix.weight.options().requires_grad(false));
    matrix.pending = ranks_.BroadcastApart(matrix.arriving, matrix.owner);
  }
}

void WeightShards::EndFetch(Layer& layer) {
  for (Matrix& matrix : layer.matrices) {
    if (matrix.pending == nullptr) continue;
    status_.Update(std::exchange(matrix.pending, nullptr)());
    const at::Tensor arrived = std::exchange(matrix.arriving, {});
    if (matrix.owner != ranks_.rank()) matrix.weight.set_data(arrived);
  }
}

void WeightShards::Drop(Layer& layer) {
  if (--layer.holders > 0) return;
  for (const Matrix& matrix : layer.matrices) {
    if (matrix.owner != ranks_.rank()) matrix.weight.set_data(NotThere(matrix.weight));
  }
}

absl::Status WeightShards::EndPass() {
  const int places = 2 * static_cast<int>(layers_.size());
  while (place_ < places) Hold(LayerAt(place_));
  place_ = 0;
  return std::exchange(status_, absl::OkStatus());
}

absl::Status WeightShards::FetchAll() {
  LLAVA_CHECK_EQ(place_, 0);
  for (Layer& layer : layers_) {
    BeginFetch(layer);
    EndFetch(layer);
  }
  all_ = true;
  return std::exchange(status_, absl::OkStatus());
}

void WeightShards::DropAll() {
  LLAVA_CHECK(all_);
  all_ = false;
  for (Layer& layer : layers_) {
    layer.holders = 1;
    Drop(layer);
  }
}

}  // namespace llava::training
