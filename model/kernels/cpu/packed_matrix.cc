#include "model/kernels/cpu/packed_matrix.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "model/kernels/cpu/large_pages.h"
#include "model/kernels/cpu/quantize.h"
#include "model/kernels/cpu/worker_pool.h"

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
  LLAVA_CHECK_EQ(GroupOf(format), 0);
  return format == WeightFormat::kFp32 ? at::kFloat : at::kBFloat16;
}

PackedMatrix::PackedMatrix(std::span<const at::Tensor> parts, WeightFormat format,
                           const KernelTable& kernels)
    : kernels_(&kernels), format_(format), in_(parts.front().size(1)), out_(0) {
  for (const at::Tensor& part : parts) {
    LLAVA_CHECK(part.is_cpu() && part.size(1) == in_);
    out_ += part.size(0);
  }
  MakePanels([&](std::int64_t panel, Room& room) { Fill(parts, panel, room); });
}

PackedMatrix::PackedMatrix(std::span<const QuantizedMatrix> parts, const KernelTable& kernels)
    : kernels_(&kernels), format_(parts.front().format), in_(parts.front().in), out_(0) {
  for (const QuantizedMatrix& part : parts) {
    LLAVA_CHECK(part.format == format_ && part.in == in_);
    out_ += part.out();
  }
  MakePanels([&](std::int64_t panel, Room& room) { Fill(parts, panel, room); });
}

template <typename FillPanel>
void PackedMatrix::MakePanels(const FillPanel& fill) {
  panels_ = EmptyInLargePages(
      {CeilDiv(out_, kernels_->panel), gemm().u32_per_column(in_) * kernels_->panel}, at::kInt);
  panels_[-1].zero_();  // the columns that the last panel has beyond the matrix
  ParallelJobs(panels(), ThreadsFor(out_ * in_ * 4), [] { return Room(); }, fill);
}

std::int64_t PackedMatrix::Columns(std::int64_t panel) const {
  return std::min<std::int64_t>(kernels_->panel, out_ - panel * kernels_->panel);
}

std::uint32_t* PackedMatrix::Panel(std::int64_t panel) {
  return static_cast<std::uint32_t*>(panels_.mutable_data_ptr()) + panel * panels_.size(1);
}

template <typename Part, typename Copy>
void PackedMatrix::ForEachPart(std::span<const Part> parts, std::int64_t panel,
                               const Copy& copy) const {
  const std::int64_t begin = panel * kernels_->panel;
  const std::int64_t end = begin + Columns(panel);
  std::int64_t part_begin = 0;
  for (const Part& part : parts) {
    const std::int64_t part_end = part_begin + part.size(0);
    const std::int64_t first = std::max(begin, part_begin);
    const std::int64_t last = std::min(end, part_end);
    if (first < last) copy(part, first - part_begin, last - first, first - begin);
    part_begin = part_end;
  }
}

void PackedMatrix::Fill(std::span<const at::Tensor> parts, std::int64_t panel, Room& room) {
  const std::int64_t columns = Columns(panel);
  const std::int64_t group = GroupOf(format_);
  for (std::int64_t k = 0; k < in_; k += kFillSteps) {
    const std::int64_t steps = std::min(kFillSteps, in_ - k);
    room.numbers.resize(columns * steps);
    ForEachPart(
        parts, panel,
        [&](const at::Tensor& part, std::int64_t row, std::int64_t rows, std::int64_t at) {
          const at::Tensor numbers = part.narrow(0, row, rows).narrow(1, k, steps);
          at::from_blob(room.numbers.data() + at * steps, {rows, steps}, at::kFloat).copy_(numbers);
        });
    std::uint32_t* const to = Panel(panel) + gemm().u32_per_column(k) * kernels_->panel;
    if (group == 0) {
      gemm().pack_columns(room.numbers.data(), columns, steps, to);
      continue;
    }
    const std::int64_t groups = CeilDiv(steps, group);
    room.codes.resize(columns * steps);
    room.scales.resize(columns * groups);
    for (std::int64_t i = 0; i < columns; ++i) {
      Quantize(format_, std::span(room.numbers).subspan(i * steps, steps),
               room.codes.data() + i * steps, room.scales.data() + i * groups);
    }
    gemm().pack_codes(room.codes.data(), room.scales.data(), columns, steps, to);
  }
}

void PackedMatrix::Fill(std::span<const QuantizedMatrix> parts, std::int64_t panel, Room& room) {
  const std::int64_t columns = Columns(panel);
  const std::int64_t groups = CeilDiv(in_, GroupOf(format_));
  room.codes.resize(columns * in_);
  room.scales.resize(columns * groups);
  ForEachPart(
      parts, panel,
      [&](const QuantizedMatrix& part, std::int64_t row, std::int64_t rows, std::int64_t at) {
        for (std::int64_t i = 0; i < rows; ++i) {
          part.ReadRow(row + i, room.codes.data() + (at + i) * in_,
                       room.scales.data() + (at + i) * groups);
        }
      });
  gemm().pack_codes(room.codes.data(), room.scales.data(), columns, in_, Panel(panel));
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
                .u32_per_column = gemm().u32_per_column(in_),
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

std::int64_t PackedMatrix::bytes() const {
  return panels() * panels_.size(1) * static_cast<std::int64_t>(sizeof(std::uint32_t));
}

void PackedMatrix::MultiplyFew(const GemmArgs& args) const {
  const std::int64_t job_panels =
      std::max<std::int64_t>(kLeastJobPanels, kJobBytes / (panels_.size(1) * 4));
  ParallelJobs(CeilDiv(panels(), job_panels), ThreadsFor(bytes()), [&](std::int64_t job) {
    gemm().few_rows(args, job * job_panels, std::min(panels(), (job + 1) * job_panels));
  });
}

void PackedMatrix::MultiplyMany(const GemmArgs& args) const {
  const std::int64_t tiles = CeilDiv(args.rows, kernels_->tile_rows);
  const std::int64_t row_jobs = CeilDiv(args.rows, kJobRows);
  const std::int64_t job_panels = std::max<std::int64_t>(1, kJobColumns / kernels_->panel);
  const std::int64_t panel_jobs = CeilDiv(panels(), job_panels);
  const auto room = [] { return std::vector<float>(); };
  const std::int64_t threads = ThreadsFor(bytes() * CeilDiv(tiles, kFewTiles));
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
