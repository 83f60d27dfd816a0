#include "model/network/rows.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <utility>

#include "base/check.h"
#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/worker_pool.h"
#include "model/kernels/cuda/tensors.h"

namespace llava::model {
namespace {

// f(row) for all rows, on several threads when there is enough to do.
template <typename F>
void ForEachRow(std::int64_t rows, std::int64_t row_length, const F& f) {
  constexpr std::int64_t kJobElements = 1 << 15;
  const std::int64_t job_rows = std::max<std::int64_t>(1, kJobElements / row_length);
  const std::int64_t jobs = (rows + job_rows - 1) / job_rows;
  ParallelJobs(jobs, ThreadsFor(rows * row_length * 4), [&](std::int64_t job) {
    const std::int64_t last = std::min(rows, (job + 1) * job_rows);
    for (std::int64_t row = job * job_rows; row < last; ++row) f(row);
  });
}

}  // namespace

bool HasRowKernels(const at::Tensor& x) {
  if (HasCudaKernels(x)) return true;
  return x.is_cpu() && x.scalar_type() == at::kFloat && x.stride(-1) == 1 &&
         !(at::GradMode::is_enabled() && x.requires_grad());
}

bool HasRmsNormRows(const at::Tensor& x, const at::Tensor& weight) {
  if (at::GradMode::is_enabled()) return false;
  return HasCudaKernels(x) ? HasRmsNormOnGpu(x, weight) : HasRowKernels(x);
}

std::optional<at::Tensor> AddRmsNormRows(at::Tensor& x, const at::Tensor& more,
                                         const at::Tensor& weight, double eps) {
  if (at::GradMode::is_enabled() || !HasAddRmsNormOnGpu(x, more, weight)) return std::nullopt;
  auto [sum, norm] = AddRmsNormOnGpu(x, more, weight, eps);
  x = std::move(sum);
  return std::move(norm);
}

at::Tensor RmsNormRows(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (HasCudaKernels(x)) return RmsNormOnGpu(x, weight, eps);
  const at::Tensor from = x.contiguous(), scale = weight.to(at::kFloat).contiguous();
  at::Tensor to = at::empty_like(from);
  const std::int64_t n = x.size(-1);
  LLAVA_CHECK_EQ(scale.numel(), n);
  const float* in = from.const_data_ptr<float>();
  float* out = to.mutable_data_ptr<float>();
  ForEachRow(x.numel() / n, n, [&](std::int64_t row) {
    Kernels().rms_norm_row(in + row * n, scale.const_data_ptr<float>(), static_cast<float>(eps), n,
                           out + row * n);
  });
  return to;
}

at::Tensor SiluTimesRows(const at::Tensor& gate_up) {
  if (HasCudaKernels(gate_up)) return SiluTimesOnGpu(gate_up);
  const std::int64_t rows = gate_up.size(0), n = gate_up.size(1) / 2, stride = gate_up.stride(0);
  at::Tensor to = at::empty({rows, n}, gate_up.options());
  const float* in = gate_up.const_data_ptr<float>();
  float* out = to.mutable_data_ptr<float>();
  ForEachRow(rows, n, [&](std::int64_t row) {
    Kernels().silu_times_row(in + row * stride, in + row * stride + n, n, out + row * n);
  });
  return to;
}

at::Tensor QuickGeluRows(const at::Tensor& x) {
  if (HasCudaKernels(x)) return QuickGeluOnGpu(x);
  const at::Tensor from = x.contiguous();
  at::Tensor to = at::empty_like(from);
  const std::int64_t n = x.size(-1);
  const float* in = from.const_data_ptr<float>();
  float* out = to.mutable_data_ptr<float>();
  ForEachRow(x.numel() / n, n,
             [&](std::int64_t row) { Kernels().quick_gelu_row(in + row * n, n, out + row * n); });
  return to;
}

void RotateRows(const at::Tensor& x_THD, const at::Tensor& cos, const at::Tensor& sin) {
  if (HasCudaKernels(x_THD)) return RotateOnGpu(x_THD, cos, sin);
  const std::int64_t heads = x_THD.size(1), dim = x_THD.size(2);
  LLAVA_CHECK(x_THD.stride(2) == 1 && x_THD.stride(1) == dim && dim % 2 == 0);
  LLAVA_CHECK(cos.is_contiguous() && sin.is_contiguous() && cos.size(-1) == dim / 2);
  float* x = x_THD.mutable_data_ptr<float>();
  const float* c = cos.const_data_ptr<float>();
  const float* s = sin.const_data_ptr<float>();
  ForEachRow(x_THD.size(0), heads * dim, [&](std::int64_t t) {
    Kernels().rotate_row(x + t * x_THD.stride(0), c + t * dim / 2, s + t * dim / 2, heads, dim);
  });
}

at::Tensor PixelRows(const at::Tensor& bytes, const at::Tensor& tables, at::ScalarType dtype) {
  if (HasCudaKernels(tables) && (dtype == at::kFloat || dtype == at::kBFloat16)) {
    return PixelsOnGpu(bytes, tables, dtype);
  }
  const std::int64_t planes = tables.numel() / 256;
  return tables.to(dtype)
      .view({planes, 256})
      .gather(1, bytes.to(at::kLong).view({planes, -1}))
      .view(bytes.sizes());
}

}  // namespace llava::model
