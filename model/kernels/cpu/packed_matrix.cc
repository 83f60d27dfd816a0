#include "model/kernels/cpu/packed_matrix.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "model/kernels/cpu/large_pages.h"
#include "model/kernels/cpu/parallel.h"

namespace llava::model {
namespace {

// A job of a product with many rows computes at most kJobRows x kJobColumns outputs. What it works
// on at a time must stay in a second-level cache of 512 KiB: its fp32 sums (120 KiB) and one chunk
// of k of its weights and rows (fp32: 128 and 240 KiB, block floating point: 33 and 61 KiB). 240
// rows are a whole number of tiles of 6 and of 12 rows, 128 columns a whole number of panels of 8,
// 16 and 32 columns, so that no job ends in a small tile.
constexpr std::int64_t kJobRows = 240;
constexpr std::int64_t kJobColumns = 128;

// Up to this many tiles a product reads all of its weights for little arithmetic and is bound by
// memory: each tile then keeps its sums in registers over all of k. With more tiles that would read
// the weights too often, and sums in the cache cost less.
constexpr std::int64_t kFewTiles = 4;

// Weights of one job of a product with few rows. They come from memory for the first tile and from
// the second-level cache, of which they leave room, for the others; a job takes some 10
// microseconds, long beside the taking of it and short beside a product, so that threads end
// together.
constexpr std::int64_t kJobBytes = 1 << 17;

// A row of x goes with this many neighbouring panels at the most (TileTimesAll).
constexpr std::int64_t kLeastJobPanels = 4;

// Tiles that one job packs: of a prompt's rows enough for every thread, and long beside the taking
// of a job.
constexpr std::int64_t kJobTiles = 8;

// Steps of k that are converted to fp32 and packed at a time: those of a panel's 8 to 32 columns
// are 128 to 512 KiB, which the second-level cache holds. A multiple of 256, as pack_columns wants.
constexpr std::int64_t kFillSteps = 4096;

std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

WeightFormat WeightFormatOf(at::ScalarType dtype) {
  LLAVA_CHECK(dtype == at::kBFloat16 || dtype == at::kFloat);
  return dtype == at::kFloat ? WeightFormat::kFp32 : WeightFormat::kBlockFloat;
}

at::ScalarType DtypeOf(WeightFormat format) {
  return format == WeightFormat::kFp32 ? at::kFloat : at::kBFloat16;
}

PackedMatrix::PackedMatrix(std::span<const at::Tensor> parts, WeightFormat format,
                           const KernelTable& kernels)
    : kernels_(&kernels), format_(format), in_(parts.front().size(1)), out_(0) {
  for (const at::Tensor& part : parts) {
    LLAVA_CHECK(part.is_cpu() && part.size(1) == in_);
    out_ += part.size(0);
  }
  panels_ = EmptyInLargePages(
      {CeilDiv(out_, kernels.panel), gemm().u32_per_row(in_) * kernels.panel}, at::kInt);
  panels_[-1].zero_();  // the columns that the last panel has beyond the matrix
  const auto room = [] { return std::vector<float>(); };
  ParallelJobs(panels(), ThreadsFor(out_ * in_ * 4), room,
               [&](std::int64_t panel, auto& columns) { Fill(parts, panel, columns); });
}

void PackedMatrix::Fill(std::span<const at::Tensor> parts, std::int64_t panel,
                        std::vector<float>& columns) {
  const std::int64_t begin = panel * kernels_->panel;
  const std::int64_t end = std::min(out_, begin + kernels_->panel);
  auto* const to =
      static_cast<std::uint32_t*>(panels_.mutable_data_ptr()) + panel * panels_.size(1);
  for (std::int64_t k = 0; k < in_; k += kFillSteps) {
    const std::int64_t steps = std::min(kFillSteps, in_ - k);
    columns.resize((end - begin) * steps);
    std::int64_t part_begin = 0;
    for (const at::Tensor& part : parts) {
      const std::int64_t first = std::max(begin, part_begin);
      const std::int64_t last = std::min(end, part_begin + part.size(0));
      if (first < last) {
        at::from_blob(columns.data() + (first - begin) * steps, {last - first, steps}, at::kFloat)
            .copy_(part.narrow(0, first - part_begin, last - first).narrow(1, k, steps));
      }
      part_begin += part.size(0);
    }
    gemm().pack_columns(columns.data(), end - begin, steps,
                        to + gemm().u32_per_row(k) * kernels_->panel);
  }
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
                .u32_per_row = gemm().u32_per_row(in_),
                .panels = static_cast<const std::uint32_t*>(panels_.const_data_ptr()),
                .bias = bias_O.defined() ? bias_O.const_data_ptr<float>() : nullptr,
                .packed_x = nullptr,
                .y = y.mutable_data_ptr<float>(),
                .ldy = out_};
  if (args.rows == 0) return y;
  const at::Tensor packed_x = at::empty({args.rows * args.u32_per_row}, at::kInt);
  args.packed_x = static_cast<std::uint32_t*>(packed_x.mutable_data_ptr());
  const std::int64_t tiles = CeilDiv(args.rows, kernels_->tile_rows);
  ParallelJobs(CeilDiv(tiles, kJobTiles), ThreadsFor(args.rows * in_ * 4), [&](std::int64_t job) {
    gemm().pack_rows(args, job * kJobTiles, std::min(tiles, (job + 1) * kJobTiles));
  });
  tiles <= kFewTiles ? MultiplyFew(args) : MultiplyMany(args);
  return y;
}

std::int64_t PackedMatrix::WeightBytes() const {
  return panels() * panels_.size(1) * static_cast<std::int64_t>(sizeof(std::uint32_t));
}

void PackedMatrix::MultiplyFew(const GemmArgs& args) const {
  const std::int64_t job_panels =
      std::max<std::int64_t>(kLeastJobPanels, kJobBytes / (panels_.size(1) * 4));
  ParallelJobs(CeilDiv(panels(), job_panels), ThreadsFor(WeightBytes()), [&](std::int64_t job) {
    gemm().few_rows(args, job * job_panels, std::min(panels(), (job + 1) * job_panels));
  });
}

void PackedMatrix::MultiplyMany(const GemmArgs& args) const {
  const std::int64_t tiles = CeilDiv(args.rows, kernels_->tile_rows);
  const std::int64_t row_jobs = CeilDiv(args.rows, kJobRows);
  const std::int64_t job_panels = std::max<std::int64_t>(1, kJobColumns / kernels_->panel);
  const std::int64_t panel_jobs = CeilDiv(panels(), job_panels);
  const auto room = [] { return std::vector<float>(); };
  const std::int64_t threads = ThreadsFor(WeightBytes() * CeilDiv(tiles, kFewTiles));
  ParallelJobs(
      row_jobs * panel_jobs, threads, room, [&](std::int64_t job, std::vector<float>& sums) {
        // Neighbouring jobs differ in their rows, so that threads share the weights that they read.
        const std::int64_t row = job % row_jobs, column = job / row_jobs;
        const std::int64_t first_tile = tiles * row / row_jobs,
                           last_tile = tiles * (row + 1) / row_jobs;
        sums.resize((last_tile - first_tile) * kernels_->tile_rows * job_panels * kernels_->panel);
        gemm().many_rows(args, first_tile, last_tile, column * job_panels,
                         std::min(panels(), (column + 1) * job_panels), sums.data());
      });
}

}  // namespace llava::model
