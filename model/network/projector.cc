#include "model/network/projector.h"

#include "absl/strings/str_cat.h"
#include "model/checkpoint/weight_names.h"

namespace llava::model {

Projector::Projector(const LlavaConfig& config, WeightSource& source)
    : activation_(config.projector.activation) {
  std::int64_t in = config.projector_input_size();
  if (config.projector.input_norm) {
    norm_.emplace(source, absl::StrCat(kProjectorPrefix, "projector_layernorm"), in,
                  config.projector.input_norm_eps);
  }
  for (int i = 1; i <= config.projector.depth; ++i) {
    layers_.push_back(source.TakeLinear(absl::StrCat(kProjectorPrefix, "linear_", i),
                                        config.text.hidden_size, in, config.projector.bias));
    if (const auto packing = source.pack()) layers_.back().Pack(packing->others);
    in = config.text.hidden_size;
  }
}

at::Tensor Projector::Forward(const at::Tensor& features) const {
  at::Tensor x = layers_.front().Forward(norm_ ? norm_->Forward(features) : features);
  for (std::size_t i = 1; i < layers_.size(); ++i) x = layers_[i].Forward(Activate(activation_, x));
  return x;
}

}  // namespace llava::model
