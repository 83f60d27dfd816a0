#include "training/objective/random_weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstring>

#include "absl/strings/match.h"
#include "base/digest.h"
#include "base/rng.h"

namespace llava::training {
namespace {

// Layers begin as small corrections of what a token is: were words as small as other tables, the
// first layer's noise would drown them.
constexpr double kWordDeviation = 0.3;
constexpr double kResidualGain = 0.3;

// Stands behind each row of a picture's features.
bool IsRowEnd(const std::string& name) { return absl::StrContains(name, "image_newline"); }

bool IsTable(const std::string& name) {
  return absl::StrContains(name, "embed_tokens") || absl::StrContains(name, "position_embedding") ||
         absl::StrContains(name, "class_embedding") || IsRowEnd(name);
}

bool WritesIntoResidual(const std::string& name) {
  return absl::EndsWith(name, "o_proj.weight") || absl::EndsWith(name, "down_proj.weight") ||
         absl::EndsWith(name, "out_proj.weight") || absl::EndsWith(name, "fc2.weight");
}

double DeviationOf(const std::string& name, const std::vector<std::int64_t>& shape) {
  if (absl::StrContains(name, "embed_tokens")) return kWordDeviation;
  if (IsRowEnd(name)) return 1.0 / std::sqrt(static_cast<double>(shape.front()));
  if (IsTable(name)) return 0.02;
  std::int64_t inputs = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) inputs *= shape[i];
  return (WritesIntoResidual(name) ? kResidualGain : 1.0) / std::sqrt(static_cast<double>(inputs));
}

}  // namespace

at::Tensor RandomNormal(const std::vector<std::int64_t>& shape, double deviation,
                        std::uint64_t seed, const std::string& name) {
  const Digest digest = Sha256Of(name);
  std::uint64_t name_bits = 0;
  std::memcpy(&name_bits, digest.bytes.data(), sizeof(name_bits));
  Rng rng(seed ^ name_bits);
  at::Tensor tensor = at::empty(shape, at::kFloat);
  float* values = tensor.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    values[i] = static_cast<float>(deviation * rng.Normal());
  }
  return tensor;
}

at::Tensor RandomWeights::Take(const std::string& name, const std::vector<std::int64_t>& shape) {
  at::Tensor tensor = Make(name, shape).to(device_);
  Keep(name, tensor);
  return tensor;
}

at::Tensor RandomWeights::Make(const std::string& name,
                               const std::vector<std::int64_t>& shape) const {
  if (shape.size() == 1 && !IsTable(name)) {
    const bool is_bias = absl::EndsWith(name, "bias");
    return is_bias ? at::zeros(shape, dtype_) : at::ones(shape, dtype_);
  }
  return RandomNormal(shape, DeviationOf(name, shape), seed_, name).to(dtype_);
}

}  // namespace llava::training
