#include "model/kernels/cuda/tensors.h"

#include "base/attention_limits.h"
#include "base/check.h"

#ifdef LLAVA_WITH_CUDA

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <optional>

#include "model/kernels/cuda/kernels.h"

// What tests put in the place of a GPU.
#ifndef LLAVA_GPU
#define LLAVA_GPU at::kCUDA
#endif

namespace llava::model {
namespace {

cuda::Type TypeOf(const at::Tensor& x) {
  if (x.scalar_type() == at::kFloat8_e4m3fn) return cuda::Type::kE4m3;
  LLAVA_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
  return x.scalar_type() == at::kFloat ? cuda::Type::kFloat : cuda::Type::kBfloat16;
}

// Calls f with the stream of x's device, and sees whether the kernel could start.
template <typename F>
void OnDeviceOf(const at::Tensor& x, F f) {
  const c10::cuda::CUDAGuard guard(x.device());
  f(c10::cuda::getCurrentCUDAStream().stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

// How many parts each context is cut into, so that the GPU has enough to do. A large GPU holds some
// 512 thread blocks at a time (132 multiprocessors of four); a part of fewer than 64 keys is not
// worth its block.
std::int64_t Splits(std::int64_t blocks, std::int64_t longest) {
  constexpr std::int64_t kBlocksWanted = 512, kLeastKeys = 64;
  const std::int64_t most = (longest + kLeastKeys - 1) / kLeastKeys;
  return std::clamp<std::int64_t>((kBlocksWanted + blocks - 1) / blocks, 1, most);
}

// Whether rows of x can be read 8 elements at a time.
bool IsInParts(const at::Tensor& x) {
  const auto address = reinterpret_cast<std::uintptr_t>(x.const_data_ptr());
  const std::int64_t last = x.dim() - 1;
  if (address % 16 != 0 || x.size(last) % 8 != 0 || x.dim() > 3) return false;
  if (x.dim() == 3 && x.stride(1) != x.size(2)) return false;
  return x.dim() == 1 || x.stride(0) % 8 == 0;
}

cuda::AddRmsNormArgs NormArgs(const at::Tensor& x, const at::Tensor& weight, double eps,
                              const at::Tensor& y) {
  const std::int64_t n = x.size(-1);
  return {.x = x.const_data_ptr(),
          .x_stride = x.dim() == 1 ? n : x.stride(0),
          .inner = static_cast<int>(x.dim() == 3 ? x.size(1) : 1),
          .more = nullptr,
          .more_stride = 0,
          .weight = weight.const_data_ptr(),
          .sum = nullptr,
          .y = y.mutable_data_ptr(),
          .type = TypeOf(x),
          .rows = static_cast<int>(x.numel() / n),
          .n = static_cast<int>(n),
          .eps = static_cast<float>(eps)};
}

}  // namespace

bool HasCudaKernels(const at::Tensor& x) {
  return x.device().type() == LLAVA_GPU &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.stride(-1) == 1 &&
         !(at::GradMode::is_enabled() && x.requires_grad());
}

void RotateOnGpu(const at::Tensor& x_THD, const at::Tensor& cos, const at::Tensor& sin) {
  const std::int64_t dim = x_THD.size(2);
  LLAVA_CHECK(x_THD.stride(1) == dim && cos.is_contiguous() && sin.is_contiguous());
  OnDeviceOf(x_THD, [&](cudaStream_t stream) {
    cuda::Rotate(x_THD.mutable_data_ptr(), TypeOf(x_THD), x_THD.stride(0),
                 cos.const_data_ptr<float>(), sin.const_data_ptr<float>(),
                 static_cast<int>(x_THD.size(0)), static_cast<int>(x_THD.size(1)),
                 static_cast<int>(dim), stream);
  });
}

at::Tensor SiluTimesOnGpu(const at::Tensor& gate_up) {
  const std::int64_t n = gate_up.size(1) / 2;
  at::Tensor y = at::empty({gate_up.size(0), n}, gate_up.options());
  OnDeviceOf(y, [&](cudaStream_t stream) {
    cuda::SiluTimes(gate_up.const_data_ptr(), TypeOf(gate_up), gate_up.stride(0),
                    static_cast<int>(gate_up.size(0)), static_cast<int>(n), y.mutable_data_ptr(),
                    stream);
  });
  return y;
}

at::Tensor QuickGeluOnGpu(const at::Tensor& x) {
  const at::Tensor from = x.contiguous();
  at::Tensor y = at::empty_like(from);
  OnDeviceOf(y, [&](cudaStream_t stream) {
    cuda::QuickGelu(from.const_data_ptr(), TypeOf(from), from.numel(), y.mutable_data_ptr(),
                    stream);
  });
  return y;
}

at::Tensor PixelsOnGpu(const at::Tensor& bytes, const at::Tensor& tables, at::ScalarType dtype) {
  LLAVA_CHECK(bytes.is_contiguous() && tables.is_contiguous());
  at::Tensor y = at::empty(bytes.sizes(), tables.options().dtype(dtype));
  const std::int64_t planes = tables.numel() / 256;
  OnDeviceOf(y, [&](cudaStream_t stream) {
    cuda::Pixels(bytes.const_data_ptr<std::uint8_t>(), tables.const_data_ptr<float>(), TypeOf(y),
                 static_cast<int>(planes), static_cast<int>(bytes.numel() / planes),
                 y.mutable_data_ptr(), stream);
  });
  return y;
}

bool HasRmsNormOnGpu(const at::Tensor& x, const at::Tensor& weight) {
  return HasCudaKernels(x) && weight.dtype() == x.dtype() && IsInParts(x) && IsInParts(weight) &&
         !(at::GradMode::is_enabled() && weight.requires_grad());
}

bool HasAddRmsNormOnGpu(const at::Tensor& x, const at::Tensor& more, const at::Tensor& weight) {
  return HasRmsNormOnGpu(x, weight) && HasRmsNormOnGpu(more, weight) && x.dim() == 2 &&
         more.sizes() == x.sizes();
}

at::Tensor RmsNormOnGpu(const at::Tensor& x, const at::Tensor& weight, double eps) {
  at::Tensor y = at::empty(x.sizes(), x.options());
  OnDeviceOf(x,
             [&](cudaStream_t stream) { cuda::AddRmsNorm(NormArgs(x, weight, eps, y), stream); });
  return y;
}

std::pair<at::Tensor, at::Tensor> AddRmsNormOnGpu(const at::Tensor& x, const at::Tensor& more,
                                                  const at::Tensor& weight, double eps) {
  at::Tensor sum = at::empty(x.sizes(), x.options()), y = at::empty(x.sizes(), x.options());
  cuda::AddRmsNormArgs args = NormArgs(x, weight, eps, y);
  args.more = more.const_data_ptr();
  args.more_stride = more.stride(0);
  args.sum = sum.mutable_data_ptr();
  OnDeviceOf(x, [&](cudaStream_t stream) { cuda::AddRmsNorm(args, stream); });
  return {sum, y};
}

void RotateAndWriteOnGpu(const at::Tensor& q_THD, const at::Tensor& k_TKD, const at::Tensor& v_TKD,
                         const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& slots_T,
                         const at::Tensor& keys, const at::Tensor& values) {
  const std::int64_t dim = q_THD.size(2);
  LLAVA_CHECK(q_THD.stride(1) == dim && k_TKD.stride(1) == dim && v_TKD.stride(1) == dim);
  LLAVA_CHECK(k_TKD.dtype() == q_THD.dtype() && v_TKD.dtype() == q_THD.dtype());
  LLAVA_CHECK(cos.is_contiguous() && sin.is_contiguous() && 2 * cos.size(-1) <= dim);
  OnDeviceOf(keys, [&](cudaStream_t stream) {
    cuda::RotateAndWrite({.q = q_THD.mutable_data_ptr(),
                          .q_stride = q_THD.stride(0),
                          .k = k_TKD.mutable_data_ptr(),
                          .k_stride = k_TKD.stride(0),
                          .v = v_TKD.const_data_ptr(),
                          .v_stride = v_TKD.stride(0),
                          .type = TypeOf(q_THD),
                          .cos = cos.const_data_ptr<float>(),
                          .sin = sin.const_data_ptr<float>(),
                          .rotated = static_cast<int>(2 * cos.size(-1)),
                          .keys = keys.mutable_data_ptr(),
                          .values = values.mutable_data_ptr(),
                          .cache_type = TypeOf(keys),
                          .slots = slots_T.const_data_ptr<std::int64_t>(),
                          .tokens = static_cast<int>(q_THD.size(0)),
                          .heads = static_cast<int>(q_THD.size(1)),
                          .kv_heads = static_cast<int>(k_TKD.size(1)),
                          .head_dim = static_cast<int>(dim)},
                         stream);
  });
}

void WriteOnGpu(const at::Tensor& k_TKD, const at::Tensor& v_TKD, const at::Tensor& slots_T,
                const at::Tensor& keys, const at::Tensor& values) {
  const std::int64_t dim = k_TKD.size(2);
  LLAVA_CHECK(k_TKD.stride(1) == dim && v_TKD.stride(1) == dim && v_TKD.dtype() == k_TKD.dtype());
  OnDeviceOf(keys, [&](cudaStream_t stream) {
    cuda::Write({.k = k_TKD.const_data_ptr(),
                 .v = v_TKD.const_data_ptr(),
                 .type = TypeOf(k_TKD),
                 .k_stride = k_TKD.stride(0),
                 .v_stride = v_TKD.stride(0),
                 .keys = keys.mutable_data_ptr(),
                 .values = values.mutable_data_ptr(),
                 .cache_type = TypeOf(keys),
                 .slots = slots_T.const_data_ptr<std::int64_t>(),
                 .tokens = static_cast<int>(k_TKD.size(0)),
                 .width = static_cast<int>(k_TKD.size(1) * dim)},
                stream);
  });
}

void DecodeOnGpu(GpuDecodes& decodes, const at::Tensor& q_THD, const at::Tensor& keys,
                 const at::Tensor& values, const at::Tensor& out_THD) {
  const std::int64_t sequences = decodes.rows_S.size(0), heads = q_THD.size(1),
                     kv_heads = keys.size(1), dim = q_THD.size(2);
  LLAVA_CHECK(q_THD.stride(1) == dim && out_THD.stride(1) == dim && dim % 8 == 0 &&
              dim <= kMaxHeadDim);
  const std::int64_t splits = Splits(sequences * kv_heads, decodes.longest);
  if (splits > 1) {
    const auto make_room = [&](at::Tensor& room, std::int64_t count, at::ScalarType dtype) {
      if (room.defined() && room.numel() >= count) return;
      room = at::zeros({count}, keys.options().dtype(dtype));
    };
    make_room(decodes.partial, sequences * heads * splits * (dim + 2), at::kFloat);
    make_room(decodes.arrived, sequences * heads, at::kInt);
  }
  OnDeviceOf(keys, [&](cudaStream_t stream) {
    cuda::Decode({.q = q_THD.const_data_ptr(),
                  .out = out_THD.mutable_data_ptr(),
                  .q_type = TypeOf(q_THD),
                  .q_stride = q_THD.stride(0),
                  .out_stride = out_THD.stride(0),
                  .keys = keys.const_data_ptr(),
                  .values = values.const_data_ptr(),
                  .cache_type = TypeOf(keys),
                  .sequences = static_cast<int>(sequences),
                  .heads = static_cast<int>(heads),
                  .kv_heads = static_cast<int>(kv_heads),
                  .head_dim = static_cast<int>(dim),
                  .lengths = decodes.lengths_S.const_data_ptr<std::int32_t>(),
                  .rows = decodes.rows_S.const_data_ptr<std::int32_t>(),
                  .tables = decodes.tables_SB.const_data_ptr<std::int32_t>(),
                  .table_stride = static_cast<int>(decodes.tables_SB.size(1)),
                  .splits = static_cast<int>(splits),
                  .partial = splits > 1 ? decodes.partial.mutable_data_ptr<float>() : nullptr,
                  .arrived = splits > 1 ? decodes.arrived.mutable_data_ptr<int>() : nullptr},
                 stream);
  });
}

bool HasChunksOnGpu(const at::Tensor& q_THD, const at::Tensor& keys) {
  const std::int64_t dim = q_THD.size(2);
  if (!HasCudaKernels(q_THD) || dim % 16 != 0 || dim > kMaxHeadDim) return false;
  const bool is_read =
      keys.scalar_type() == at::kBFloat16 || keys.scalar_type() == at::kFloat8_e4m3fn;
  if (q_THD.scalar_type() != at::kBFloat16 || !is_read) return false;
  int major = 0;
  C10_CUDA_CHECK(
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, q_THD.device().index()));
  return major >= 8;
}

void AttendChunksOnGpu(const GpuChunks& chunks, const at::Tensor& q_THD, const at::Tensor& keys,
                       const at::Tensor& values, const at::Tensor& out_THD) {
  const std::int64_t dim = q_THD.size(2);
  LLAVA_CHECK(q_THD.stride(1) == dim && out_THD.stride(1) == dim);
  OnDeviceOf(keys, [&](cudaStream_t stream) {
    cuda::Prompt({.q = q_THD.const_data_ptr(),
                  .out = out_THD.mutable_data_ptr(),
                  .q_stride = q_THD.stride(0),
                  .out_stride = out_THD.stride(0),
                  .keys = keys.const_data_ptr(),
                  .values = values.const_data_ptr(),
                  .cache_type = TypeOf(keys),
                  .chunks = static_cast<int>(chunks.tokens_C.size(0)),
                  .heads = static_cast<int>(q_THD.size(1)),
                  .kv_heads = static_cast<int>(keys.size(1)),
                  .head_dim = static_cast<int>(dim),
                  .first_rows = chunks.first_rows_C.const_data_ptr<std::int32_t>(),
                  .tokens = chunks.tokens_C.const_data_ptr<std::int32_t>(),
                  .contexts = chunks.contexts_C.const_data_ptr<std::int32_t>(),
                  .tables = chunks.tables_CB.const_data_ptr<std::int32_t>(),
                  .table_stride = static_cast<int>(chunks.tables_CB.size(1)),
                  .longest = static_cast<int>(chunks.longest)},
                 stream);
  });
}

int ComputeCapability(at::Device gpu) {
  int major = 0, minor = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu.index()));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, gpu.index()));
  return 10 * major + minor;
}

void QuantizeRowsOnGpu(const at::Tensor& x_TN, const at::Tensor& codes_TN,
                       const at::Tensor& scales_T) {
  const at::Tensor x = IsInParts(x_TN) ? x_TN : x_TN.clone(at::MemoryFormat::Contiguous);
  LLAVA_CHECK(codes_TN.is_contiguous() && codes_TN.sizes() == x.sizes() && IsInParts(x));
  OnDeviceOf(x, [&](cudaStream_t stream) {
    cuda::QuantizeRows({.x = x.const_data_ptr(),
                        .type = TypeOf(x),
                        .x_stride = x.stride(0),
                        .rows = static_cast<int>(x.size(0)),
                        .n = static_cast<int>(x.size(1)),
                        .codes = codes_TN.mutable_data_ptr<std::uint8_t>(),
                        .scales = scales_T.mutable_data_ptr<float>()},
                       stream);
  });
}

at::Tensor Int8ProductOnGpu(const at::Tensor& x_TI, const at::Tensor& codes_OI,
                            const at::Tensor& scales_OG, std::int64_t group,
                            const at::Tensor& bias_O) {
  // Modelled for an A100: beyond these rows the codes, read again for every kInt8Rows of them, cost
  // more than numbers that are written once and read once.
  constexpr std::int64_t kFewRows = 4 * cuda::kInt8Rows;
  LLAVA_CHECK(codes_OI.is_contiguous() && scales_OG.is_contiguous());
  LLAVA_CHECK(codes_OI.size(1) % 16 == 0 && group % 16 == 0);
  const cuda::Int8Weights weights = {.codes = codes_OI.const_data_ptr<std::int8_t>(),
                                     .scales = scales_OG.const_data_ptr<float>(),
                                     .out = static_cast<int>(codes_OI.size(0)),
                                     .in = static_cast<int>(codes_OI.size(1)),
                                     .group = static_cast<int>(group),
                                     .groups = static_cast<int>(scales_OG.size(1))};
  const at::Tensor bias = bias_O.defined() ? bias_O.to(x_TI.scalar_type()) : bias_O;
  if (x_TI.size(0) > kFewRows) {
    const at::Tensor numbers_OI = at::empty(codes_OI.sizes(), x_TI.options());
    OnDeviceOf(x_TI, [&](cudaStream_t stream) {
      cuda::DequantizeInt8(weights, TypeOf(x_TI), numbers_OI.mutable_data_ptr(), stream);
    });
    return at::linear(x_TI, numbers_OI, bias.defined() ? std::optional(bias) : std::nullopt);
  }
  const at::Tensor x = IsInParts(x_TI) ? x_TI : x_TI.clone(at::MemoryFormat::Contiguous);
  at::Tensor y = at::empty({x.size(0), codes_OI.size(0)}, x.options());
  OnDeviceOf(x, [&](cudaStream_t stream) {
    cuda::Int8Product({.weights = weights,
                       .x = x.const_data_ptr(),
                       .bias = bias.defined() ? bias.const_data_ptr() : nullptr,
                       .y = y.mutable_data_ptr(),
                       .type = TypeOf(x),
                       .x_stride = x.stride(0),
                       .rows = static_cast<int>(x.size(0))},
                      stream);
  });
  return y;
}

}  // namespace llava::model

#else

namespace llava::model {

bool HasCudaKernels(const at::Tensor&) { return false; }
void RotateOnGpu(const at::Tensor&, const at::Tensor&, const at::Tensor&) { LLAVA_CHECK(false); }
at::Tensor SiluTimesOnGpu(const at::Tensor&) { LLAVA_CHECK(false); }
at::Tensor QuickGeluOnGpu(const at::Tensor&) { LLAVA_CHECK(false); }
at::Tensor PixelsOnGpu(const at::Tensor&, const at::Tensor&, at::ScalarType) { LLAVA_CHECK(false); }
void WriteOnGpu(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                const at::Tensor&) {
  LLAVA_CHECK(false);
}
bool HasRmsNormOnGpu(const at::Tensor&, const at::Tensor&) { return false; }
bool HasAddRmsNormOnGpu(const at::Tensor&, const at::Tensor&, const at::Tensor&) { return false; }
at::Tensor RmsNormOnGpu(const at::Tensor&, const at::Tensor&, double) { LLAVA_CHECK(false); }
std::pair<at::Tensor, at::Tensor> AddRmsNormOnGpu(const at::Tensor&, const at::Tensor&,
                                                  const at::Tensor&, double) {
  LLAVA_CHECK(false);
}
void RotateAndWriteOnGpu(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                         const at::Tensor&, const at::Tensor&, const at::Tensor&,
                         const at::Tensor&) {
  LLAVA_CHECK(false);
}
void DecodeOnGpu(GpuDecodes&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                 const at::Tensor&) {
  LLAVA_CHECK(false);
}

bool HasChunksOnGpu(const at::Tensor&, const at::Tensor&) { return false; }
void AttendChunksOnGpu(const GpuChunks&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                       const at::Tensor&) {
  LLAVA_CHECK(false);
}

int ComputeCapability(at::Device) { return 0; }
void QuantizeRowsOnGpu(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  LLAVA_CHECK(false);
}
at::Tensor Int8ProductOnGpu(const at::Tensor&, const at::Tensor&, const at::Tensor&, std::int64_t,
                            const at::Tensor&) {
  LLAVA_CHECK(false);
}

}  // namespace llava::model

#endif
