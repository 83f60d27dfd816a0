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

// Calls f with the element type of the matrix as bits.
template <typename F>
void WithBits(at::ScalarType dtype, F f) {
  dtype == at::kBFloat16 ? f(std::uint16_t{}) : f(std::uint32_t{});
}

// A 32-bit word of a weight row: an fp32 number or two bf16 ones, wherever they lie.
struct __attribute__((packed, aligned(2), may_alias)) Word {
  std::uint32_t bits;
};

// Word w of column c goes to to[w * panel + c].
void TransposeWords(const Word* const* columns, std::int64_t count, std::int64_t words, int panel,
                    Word* to) {
  constexpr std::int64_t kRun = 16;  // a cache line of each column
  for (std::int64_t begin = 0; begin < words; begin += kRun) {
    const std::int64_t end = std::min(words, begin + kRun);
    for (std::int64_t c = 0; c < count; ++c) {
      for (std::int64_t w = begin; w < end; ++w) to[w * panel + c] = columns[c][w];
    }
  }
}

}  // namespace

PackedMatrix::PackedMatrix(std::span<const at::Tensor> parts, at::ScalarType dtype,
                           const KernelTable& kernels)
    : kernels_(&kernels), dtype_(dtype), in_(parts.front().size(1)), out_(0) {
  LLAVA_CHECK(dtype_ == at::kBFloat16 || dtype_ == at::kFloat);
  std::vector<at::Tensor> rows;
  for (const at::Tensor& part : parts) {
    LLAVA_CHECK(part.is_cpu() && part.size(1) == in_);
    rows.push_back(part.to(dtype_).contiguous());
    out_ += part.size(0);
  }
  const std::int64_t elements = (dtype_ == at::kBFloat16 ? in_ + in_ % 2 : in_) * kernels.panel;
  panels_ = EmptyInLargePages({CeilDiv(out_, kernels.panel), elements}, dtype_);
  panels_[-1].zero_();  // columns beyond the last
  WithBits(dtype_, [&](auto bits) { Fill<decltype(bits)>(rows); });
}

// T: an element as bits.
template <typename T>
void PackedMatrix::Fill(std::span<const at::Tensor> parts) {
  constexpr std::int64_t kWordElements = 4 / sizeof(T);
  std::vector<const Word*> rows;
  for (const at::Tensor& part : parts) {
    const T* first = static_cast<const T*>(part.const_data_ptr());
    for (std::int64_t r = 0; r < part.size(0); ++r) {
      rows.push_back(reinterpret_cast<const Word*>(first + r * in_));
    }
  }
  const std::int64_t words = in_ / kWordElements;
  T* const all = static_cast<T*>(panels_.mutable_data_ptr());
  const int panel = kernels_->panel;
  ParallelJobs(panels(), [&](std::int64_t p) {
    const std::int64_t count = std::min<std::int64_t>(panel, out_ - p * panel);
    const Word* const* columns = rows.data() + p * panel;
    Word* const to = reinterpret_cast<Word*>(all + p * panels_.size(1));
    TransposeWords(columns, count, words, panel, to);
    if (in_ % kWordElements == 0) return;
    for (std::int64_t c = 0; c < count; ++c) {
      to[words * panel + c].bits = reinterpret_cast<const T*>(columns[c])[in_ - 1];
    }
  });
}

at::Tensor PackedMatrix::Unpack() const {
  at::Tensor weight = at::empty({out_, in_}, dtype_);
  WithBits(dtype_, [&](auto bits) {
    using T = decltype(bits);
    const T* from = static_cast<const T*>(panels_.const_data_ptr());
    T* to = static_cast<T*>(weight.mutable_data_ptr());
    const int panel = kernels_->panel;
    for (std::int64_t row = 0; row < out_; ++row) {
      const T* columns = from + row / panel * panels_.size(1);
      for (std::int64_t k = 0; k < in_; ++k) {
        to[row * in_ + k] = columns[PanelIndex(sizeof(T) == 2, panel, k, row % panel)];
      }
    }
  });
  return weight;
}

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
