#include "model/kernels/cuda/device_matrix.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_mm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/check.h"
#include "model/kernels/cuda/e4m3.h"
#include "model/kernels/cuda/tensors.h"

namespace llava::model {
namespace {

constexpr std::int64_t kRowsAtOnce = 1024;  // of a matrix that are numbers at once on a CPU

// What QuantizeRows of kernels.h does, to the same codes and scales.
void QuantizeRowsOnCpu(const at::Tensor& x_TN, const at::Tensor& codes_TN,
                       const at::Tensor& scales_T) {
  const at::Tensor wide = x_TN.to(at::kFloat).contiguous();
  const std::int64_t n = wide.size(1);
  const float* const x = wide.const_data_ptr<float>();
  auto* const codes = codes_TN.mutable_data_ptr<std::uint8_t>();
  auto* const scales = scales_T.mutable_data_ptr<float>();
  at::parallel_for(0, wide.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* const from = x + row * n;
      float largest = 0.0f;
      for (std::int64_t i = 0; i < n; ++i) largest = std::fmax(largest, std::fabs(from[i]));
      scales[row] = E4m3Scale(largest);
      for (std::int64_t i = 0; i < n; ++i) codes[row * n + i] = ToE4m3(from[i] / scales[row]);
    }
  });
}

void QuantizeRows(const at::Tensor& x_TN, const at::Tensor& codes_TN, const at::Tensor& scales_T) {
  if (HasCudaKernels(x_TN)) return QuantizeRowsOnGpu(x_TN, codes_TN, scales_T);
  LLAVA_CHECK(x_TN.is_cpu());
  QuantizeRowsOnCpu(x_TN, codes_TN, scales_T);
}

// fp32, without the scales.
at::Tensor NumbersOf(const at::Tensor& codes_TN) {
  at::Tensor numbers_TN = at::empty(codes_TN.sizes(), at::kFloat);
  const auto* const codes = codes_TN.const_data_ptr<std::uint8_t>();
  auto* const numbers = numbers_TN.mutable_data_ptr<float>();
  at::parallel_for(0, codes_TN.numel(), 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) numbers[i] = FromE4m3(codes[i]);
  });
  return numbers_TN;
}

}  // namespace

DeviceMatrix::DeviceMatrix(at::Tensor codes_OI, at::Tensor scales, std::int64_t group)
    : codes_OI_(std::move(codes_OI)), scales_(std::move(scales)), group_(group) {}

DeviceMatrix DeviceMatrix::E4m3(std::span<const at::Tensor> parts) {
  std::int64_t out = 0;
  for (const at::Tensor& part : parts) out += part.size(0);
  const at::TensorOptions options = parts.front().options();
  at::Tensor codes_OI = at::empty({out, parts.front().size(1)}, options.dtype(at::kByte));
  at::Tensor scales_O = at::empty({out}, options.dtype(at::kFloat));
  std::int64_t row = 0;
  for (const at::Tensor& part : parts) {
    QuantizeRows(part, codes_OI.narrow(0, row, part.size(0)),
                 scales_O.narrow(0, row, part.size(0)));
    row += part.size(0);
  }
  return {std::move(codes_OI), std::move(scales_O), /*group=*/0};
}

DeviceMatrix DeviceMatrix::Int8(std::span<const at::Tensor> codes,
                                std::span<const at::Tensor> scales, std::int64_t group) {
  LLAVA_CHECK_GT(group, 0);
  return {at::cat(at::TensorList(codes.data(), codes.size())),
          at::cat(at::TensorList(scales.data(), scales.size())), group};
}

at::Tensor DeviceMatrix::MultiplyE4m3(const at::Tensor& x_TI, const at::Tensor& bias_O) const {
  const std::int64_t rows = x_TI.size(0);
  at::Tensor x_codes = at::empty(x_TI.sizes(), codes_OI_.options());
  at::Tensor x_scales = at::empty({rows, 1}, scales_.options());
  QuantizeRowsOnGpu(x_TI, x_codes, x_scales);
  std::optional<at::Tensor> bias;
  if (bias_O.defined()) bias = bias_O.to(at::kBFloat16);
  return at::_scaled_mm(x_codes.view(at::kFloat8_e4m3fn), codes_OI_.view(at::kFloat8_e4m3fn).t(),
                        x_scales, scales_.view({1, -1}), bias, /*scale_result=*/std::nullopt,
                        at::kBFloat16, /*use_fast_accum=*/true)
      .to(x_TI.scalar_type());
}

at::Tensor DeviceMatrix::MultiplyE4m3OnCpu(const at::Tensor& x_TI, const at::Tensor& bias_O) const {
  const std::int64_t rows = x_TI.size(0);
  const at::Tensor x_codes = at::empty({rows, in()}, codes_OI_.options());
  const at::Tensor x_scales = at::empty({rows, 1}, scales_.options());
  QuantizeRowsOnCpu(x_TI, x_codes, x_scales);
  const at::Tensor x = NumbersOf(x_codes);
  at::Tensor y_TO = at::empty({rows, out()}, scales_.options());
  for (std::int64_t first = 0; first < out(); first += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, out() - first);
    const at::Tensor weight = NumbersOf(codes_OI_.narrow(0, first, count));
    y_TO.narrow(1, first, count).copy_(at::linear(x, weight));
  }
  y_TO.mul_(x_scales).mul_(scales_);
  if (bias_O.defined()) y_TO.add_(bias_O);
  return y_TO.to(x_TI.scalar_type());
}

at::Tensor DeviceMatrix::Multiply(const at::Tensor& x_TI, const at::Tensor& bias_O) const {
  if (x_TI.size(0) == 0) return at::empty({0, out()}, x_TI.options());
  if (group_ > 0) return Int8ProductOnGpu(x_TI, codes_OI_, scales_, group_, bias_O);
  return codes_OI_.is_cpu() ? MultiplyE4m3OnCpu(x_TI, bias_O) : MultiplyE4m3(x_TI, bias_O);
}

}  // namespace llava::model
