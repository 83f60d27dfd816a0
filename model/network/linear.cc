#include "model/network/linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"

namespace llava::model {
namespace {

std::vector<std::int64_t> WithLast(const at::Tensor& like, std::int64_t last) {
  std::vector<std::int64_t> shape = like.sizes().vec();
  shape.back() = last;
  return shape;
}

// Calls visit(first row, rows in `type`) for the whole matrix, piece by piece.
template <typename Visit>
void ForEachPiece(const QuantizedMatrix& codes, at::ScalarType type, const Visit& visit) {
  for (std::int64_t row = 0; row < codes.out(); row += kDecodedRows) {
    visit(row, codes.Numbers(row, std::min(kDecodedRows, codes.out() - row)).to(type));
  }
}

// Keeps nothing but the codes: the input's gradient is what they are multiplied with again.
class CodedNode final : public torch::autograd::Node {
 public:
  explicit CodedNode(const QuantizedMatrix& codes) : codes_(codes) {}

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    const at::NoGradGuard no_grad;
    const at::Tensor& gradient = gradients[0];
    const at::Tensor rows_NO = gradient.reshape({-1, codes_.out()});
    at::Tensor sum_NI = at::zeros({rows_NO.size(0), codes_.in}, at::kFloat);
    ForEachPiece(codes_, gradient.scalar_type(), [&](std::int64_t first, const at::Tensor& weight) {
      sum_NI.add_(at::matmul(rows_NO.narrow(1, first, weight.size(0)), weight));
    });
    return {sum_NI.to(gradient.scalar_type()).view(WithLast(gradient, codes_.in))};
  }

  std::string name() const override { return "Coded"; }

 private:
  const QuantizedMatrix codes_;
};

// x times the transposed numbers that the codes stand for.
at::Tensor Product(const QuantizedMatrix& codes, const at::Tensor& x) {
  at::Tensor y;
  {
    const at::NoGradGuard no_grad;
    y = at::empty(WithLast(x, codes.out()), x.options().requires_grad(false));
    ForEachPiece(codes, x.scalar_type(), [&](std::int64_t first, const at::Tensor& weight) {
      y.narrow(-1, first, weight.size(0)).copy_(at::linear(x, weight));
    });
  }
  if (!at::GradMode::is_enabled() || !x.requires_grad()) return y;
  const auto node = std::shared_ptr<CodedNode>(new CodedNode(codes), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(x));
  torch::autograd::set_history(y, node);
  return y;
}

// On a GPU.
DeviceMatrix Joined(const std::vector<QuantizedMatrix>& parts) {
  LLAVA_CHECK(parts.front().format == WeightFormat::kInt8);
  std::vector<at::Tensor> codes, scales;
  for (const QuantizedMatrix& part : parts) {
    codes.push_back(part.codes);
    scales.push_back(part.scales);
  }
  return DeviceMatrix::Int8(codes, scales, GroupOf(WeightFormat::kInt8));
}

}  // namespace

Linear::Linear(at::Tensor weight_OI, at::Tensor bias_O)
    : weight_OI_(std::move(weight_OI)), bias_O_(std::move(bias_O)) {
  LLAVA_CHECK_EQ(weight_OI_.dim(), 2);
  if (bias_O_.defined()) LLAVA_CHECK_EQ(bias_O_.size(0), weight_OI_.size(0));
}

Linear::Linear(QuantizedMatrix weight, at::Tensor bias_O)
    : bias_O_(std::move(bias_O)), codes_(std::move(weight)) {
  if (bias_O_.defined()) LLAVA_CHECK_EQ(bias_O_.size(0), codes_->out());
}

std::int64_t Linear::in_features() const {
  if (on_device_ != nullptr) return on_device_->in();
  if (packed_ != nullptr) return packed_->in();
  return codes_ ? codes_->in : weight_OI_.size(1);
}

std::int64_t Linear::out_features() const {
  if (on_device_ != nullptr) return on_device_->out();
  if (packed_ != nullptr) return packed_->out();
  return codes_ ? codes_->out() : weight_OI_.size(0);
}

Linear Linear::Packed(std::vector<Linear> layers, WeightFormat format) {
  std::vector<at::Tensor> weights, biases;
  std::vector<QuantizedMatrix> codes;
  for (Linear& layer : layers) {
    LLAVA_CHECK(!layer.is_packed() && layer.lora_ == nullptr);
    if (layer.codes_) {
      LLAVA_CHECK(layer.codes_->format == format);
      codes.push_back(*std::exchange(layer.codes_, std::nullopt));
    } else {
      weights.push_back(std::move(layer.weight_OI_));
    }
    if (layer.bias_O_.defined()) biases.push_back(std::move(layer.bias_O_));
  }
  LLAVA_CHECK(codes.empty() || weights.empty());
  LLAVA_CHECK(biases.empty() || biases.size() == layers.size());
  const bool on_cpu = codes.empty() ? weights.front().is_cpu() : codes.front().codes.is_cpu();
  Linear result;
  if (format == WeightFormat::kFp8) {
    result.on_device_ = std::make_shared<const DeviceMatrix>(DeviceMatrix::E4m3(weights));
  } else if (!codes.empty() && !on_cpu) {
    result.on_device_ = std::make_shared<const DeviceMatrix>(Joined(codes));
  } else if (!codes.empty()) {
    result.packed_ = std::make_shared<const PackedMatrix>(codes);
  } else if (on_cpu) {
    result.packed_ = std::make_shared<const PackedMatrix>(weights, format);
  } else {
    result.weight_OI_ =
        (weights.size() == 1 ? weights.front() : at::cat(weights)).to(DtypeOf(format));
  }
  if (!biases.empty()) {
    result.bias_O_ = at::cat(biases);
    if (on_cpu) result.bias_O_ = result.bias_O_.to(at::kFloat);
    if (!result.is_packed()) result.bias_O_ = result.bias_O_.to(DtypeOf(format));
  }
  return result;
}

Linear Linear::Rows(std::int64_t first, std::int64_t count) const {
  LLAVA_CHECK(!is_packed() && lora_ == nullptr);
  Linear result = *this;
  if (bias_O_.defined()) result.bias_O_ = bias_O_.narrow(0, first, count);
  if (codes_) {
    result.codes_->codes = codes_->codes.narrow(0, first, count);
    result.codes_->scales = codes_->scales.narrow(0, first, count);
  } else {
    result.weight_OI_ = weight_OI_.narrow(0, first, count);
  }
  return result;
}

Linear Linear::Columns(std::int64_t first, std::int64_t count, bool with_bias) const {
  LLAVA_CHECK(!is_packed() && lora_ == nullptr);
  Linear result = *this;
  if (!with_bias) result.bias_O_ = at::Tensor();
  if (codes_) {
    const std::int64_t group = GroupOf(codes_->format);
    LLAVA_CHECK(first % group == 0 && count % group == 0);
    const std::int64_t of_a_byte = codes_->format == WeightFormat::kInt4 ? 2 : 1;
    result.codes_->in = count;
    result.codes_->codes =
        codes_->codes.narrow(1, first / of_a_byte, count / of_a_byte).contiguous();
    result.codes_->scales = codes_->scales.narrow(1, first / group, count / group).contiguous();
  } else {
    result.weight_OI_ = weight_OI_.narrow(1, first, count);
  }
  return result;
}

Linear Linear::Compact() const {
  Linear result = *this;
  const bool on_gpu = weight_OI_.defined() && !weight_OI_.is_cpu();
  if (on_gpu) result.weight_OI_ = weight_OI_.clone(at::MemoryFormat::Contiguous);
  if (on_gpu && bias_O_.defined()) result.bias_O_ = bias_O_.clone();
  return result;
}

void Linear::MergeLora() {
  LLAVA_CHECK(lora_ != nullptr);
  const at::NoGradGuard no_grad;
  if (!codes_) weight_OI_.copy_(lora_->Merged(weight_OI_));
  lora_ = nullptr;
}

at::Tensor Linear::Forward(const at::Tensor& x) const {
  if (on_device_ != nullptr) {
    const at::Tensor y = on_device_->Multiply(x.reshape({-1, on_device_->in()}), bias_O_);
    return y.view(WithLast(x, on_device_->out()));
  }
  if (packed_ != nullptr) {
    const at::Tensor rows = x.to(at::kFloat).reshape({-1, packed_->in()});
    const at::Tensor y = packed_->Multiply(rows, bias_O_);
    return y.view(WithLast(x, packed_->out())).to(x.scalar_type());
  }
  if (codes_) {
    at::Tensor y = Product(*codes_, x);
    if (bias_O_.defined()) y.add_(bias_O_.to(x.scalar_type()));
    return lora_ == nullptr ? y : y.add_(lora_->Forward(x));
  }
  if (x.scalar_type() != weight_OI_.scalar_type() && !at::GradMode::is_enabled() &&
      lora_ == nullptr) {
    // The smaller of the two to convert.
    std::optional<at::Tensor> bias;
    if (bias_O_.defined()) bias = bias_O_;
    return at::linear(x.to(weight_OI_.scalar_type()), weight_OI_, bias).to(x.scalar_type());
  }
  std::optional<at::Tensor> bias;
  if (bias_O_.defined()) bias = bias_O_.to(x.scalar_type());
  const at::Tensor weight = weight_OI_.to(x.scalar_type());
  if (lora_ == nullptr) return at::linear(x, weight, bias);
  if (!lora_->magnitude_O.defined()) return at::linear(x, weight, bias).add_(lora_->Forward(x));
  // In fp32, in which a factor that is nearly one is not one.
  const at::Tensor sum = at::linear(x, weight).add_(lora_->Forward(x));
  at::Tensor y = (sum * lora_->Factors(weight_OI_)).to(x.scalar_type());
  return bias ? y.add_(*bias) : y;
}

}  // namespace llava::model
