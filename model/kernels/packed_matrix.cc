#include "model/kernels/packed_matrix.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "model/kernels/large_pages.h"
#include "model/kernels/parallel.h"

namespace llava::model {
namespace {

// The output of these many rows and panels of one job stays in the second-level cache.
constexpr std::int64_t kJobRows = 240;
constexpr std::int64_t kJobColumns = 128;
constexpr std::int64_t kJobBytes = 1 << 17;  // of weights, for a product with few rows
constexpr std::int64_t kFewTiles = 4;
constexpr std::int64_t kJobTiles = 8;  // to pack

std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Element (k, column) of a panel: see gemm_kernel.h.
std::int64_t PanelIndex(bool bf16, int panel, std::int64_t k, std::int64_t column) {
  return bf16 ? (k / 2 * panel + column) * 2 + k % 2 : k * panel + column;
}

template <typename T, typename Visit>
void ForEachElement(const KernelTable& kernels, std::int64_t out, std::int64_t in, Visit visit) {
  constexpr bool kBf16 = sizeof(T) == 2;
  ParallelJobs(CeilDiv(out, kernels.panel), [&](std::int64_t p) {
    const std::int64_t columns = std::min<std::int64_t>(kernels.panel, out - p * kernels.panel);
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t k = 0; k < in; ++k) {
        visit(p, PanelIndex(kBf16, kernels.panel, k, c), (p * kernels.panel + c) * in + k);
      }
    }
  });
}

// Calls f with the element type of the matrix as bits.
template <typename F>
void WithBits(at::ScalarType dtype, F f) {
  dtype == at::kBFloat16 ? f(std::uint16_t{}) : f(std::uint32_t{});
}

}  // namespace

PackedMatrix::PackedMatrix(const at::Tensor& weight_OI, const KernelTable& kernels)
    : kernels_(&kernels),
      dtype_(weight_OI.scalar_type()),
      in_(weight_OI.size(1)),
      out_(weight_OI.size(0)) {
  LLAVA_CHECK(dtype_ == at::kBFloat16 || dtype_ == at::kFloat);
  LLAVA_CHECK(weight_OI.is_cpu());
  const std::int64_t elements = (dtype_ == at::kBFloat16 ? in_ + in_ % 2 : in_) * kernels.panel;
  panels_ = EmptyInLargePages({CeilDiv(out_, kernels.panel), elements}, dtype_);
  panels_[-1].zero_();  // columns beyond the last
  if (in_ % 2 != 0) panels_.zero_();
  const at::Tensor weight = weight_OI.contiguous();
  WithBits(dtype_, [&](auto bits) {
    using T = decltype(bits);
    const T* from = static_cast<const T*>(weight.const_data_ptr());
    T* to = static_cast<T*>(panels_.mutable_data_ptr());
    ForEachElement<T>(kernels, out_, in_, [&](std::int64_t p, std::int64_t inside, std::int64_t i) {
      to[p * elements + inside] = from[i];
    });
  });
}

at::Tensor PackedMatrix::Unpack() const {
  at::Tensor weight = at::empty({out_, in_}, dtype_);
  WithBits(dtype_, [&](auto bits) {
    using T = decltype(bits);
    const T* from = static_cast<const T*>(panels_.const_data_ptr());
    T* to = static_cast<T*>(weight.mutable_data_ptr());
    ForEachElement<T>(*kernels_, out_, in_,
                      [&](std::int64_t p, std::int64_t inside, std::int64_t i) {
                        to[i] = from[p * panels_.size(1) + inside];
                      });
  });
  return weight;
}

std::int64_t PackedMatrix::panels() const { return panels_.size(0); }

at::Tensor PackedMatrix::Multiply(const at::Tensor& x_TI, const at::Tensor& bias_O) const {
  LLAVA_CHECK_EQ(x_TI.dim(), 2);
  LLAVA_CHECK_EQ(x_TI.size(1), in_);
  LLAVA_CHECK(x_TI.scalar_type() == at::kFloat && x_TI.stride(1) == 1);
  LLAVA_CHECK(!bias_O.defined() || (bias_O.scalar_type() == at::kFloat && bias_O.is_contiguous()));
  at::Tensor y = at::empty({x_TI.size(0), out_}, at::kFloat);
  GemmArgs args{.x = x_TI.const_data_ptr<float>(),
                .ldx = x_TI.stride(0),
                .rows = x_TI.size(0),
                .in = in_,
                .out = out_,
                .panels = panels_.const_data_ptr(),
                .panel_bytes = panels_.size(1) * panels_.element_size(),
                .bf16 = dtype_ == at::kBFloat16,
                .bias = bias_O.defined() ? bias_O.const_data_ptr<float>() : nullptr,
                .packed_x = nullptr,
                .y = y.mutable_data_ptr<float>(),
                .ldy = out_};
  if (args.rows == 0) return y;
  const at::Tensor packed_x = at::empty({args.rows * in_}, at::kFloat);
  args.packed_x = packed_x.mutable_data_ptr<float>();
  const std::int64_t tiles = CeilDiv(args.rows, kernels_->tile_rows);
  ParallelJobs(CeilDiv(tiles, kJobTiles), [&](std::int64_t job) {
    kernels_->gemm_pack_rows(args, job * kJobTiles, std::min(tiles, (job + 1) * kJobTiles));
  });
  tiles <= kFewTiles ? MultiplyFew(args) : MultiplyMany(args);
  return y;
}

void PackedMatrix::MultiplyFew(const GemmArgs& args) const {
  const std::int64_t job_panels = std::max<std::int64_t>(4, kJobBytes / args.panel_bytes);
  ParallelJobs(CeilDiv(panels(), job_panels), [&](std::int64_t job) {
    kernels_->gemm_few_rows(args, job * job_panels, std::min(panels(), (job + 1) * job_panels));
  });
}

void PackedMatrix::MultiplyMany(const GemmArgs& args) const {
  const std::int64_t tiles = CeilDiv(args.rows, kernels_->tile_rows);
  const std::int64_t row_jobs = CeilDiv(args.rows, kJobRows);
  const std::int64_t job_panels = std::max<std::int64_t>(1, kJobColumns / kernels_->panel);
  const std::int64_t panel_jobs = CeilDiv(panels(), job_panels);
  const auto room = [] { return std::vector<float>(); };
  ParallelJobs(row_jobs * panel_jobs, room, [&](std::int64_t job, std::vector<float>& sums) {
    // Row blocks change fastest: threads meet at the same weights.
    const std::int64_t row = job % row_jobs, column = job / row_jobs;
    const std::int64_t first_tile = tiles * row / row_jobs,
                       last_tile = tiles * (row + 1) / row_jobs;
    sums.resize((last_tile - first_tile) * kernels_->tile_rows * job_panels * kernels_->panel);
    kernels_->gemm_many_rows(args, first_tile, last_tile, column * job_panels,
                             std::min(panels(), (column + 1) * job_panels), sums.data());
  });
}

}  // namespace llava::model
