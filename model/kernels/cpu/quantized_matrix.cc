#include "model/kernels/cpu/quantized_matrix.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "model/kernels/cpu/large_pages.h"
#include "model/kernels/cpu/worker_pool.h"

namespace llava::model {
namespace {

std::int64_t CodeBytes(WeightFormat format, std::int64_t in) {
  return format == WeightFormat::kInt4 ? (in + 1) / 2 : in;
}

// A row's numbers and codes.
struct Room {
  std::vector<float> numbers;
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
};

}  // namespace

void QuantizedMatrix::ReadRow(std::int64_t row, std::int8_t* to, float* row_scales) const {
  const std::int64_t bytes = CodeBytes(format, in);
  const auto* from = static_cast<const std::uint8_t*>(codes.const_data_ptr()) + row * bytes;
  if (format == WeightFormat::kInt4) {
    for (std::int64_t k = 0; k < in; ++k) {
      to[k] = static_cast<std::int8_t>((from[k / 2] >> (k % 2 * 4) & 15) - 8);
    }
  } else {
    std::copy_n(reinterpret_cast<const std::int8_t*>(from), in, to);
  }
  const std::int64_t groups = scales.size(1);
  std::copy_n(scales.const_data_ptr<float>() + row * groups, groups, row_scales);
}

QuantizedMatrix QuantizedMatrix::Empty(WeightFormat format, std::int64_t out, std::int64_t in) {
  const std::int64_t groups = (in + GroupOf(format) - 1) / GroupOf(format);
  const at::ScalarType type = format == WeightFormat::kInt4 ? at::kByte : at::kChar;
  return {.format = format,
          .in = in,
          .codes = EmptyInLargePages({out, CodeBytes(format, in)}, type),
          .scales = EmptyInLargePages({out, groups}, at::kFloat)};
}

void QuantizedMatrix::WriteRow(std::int64_t row, const std::int8_t* from, const float* row_scales) {
  const std::int64_t bytes = CodeBytes(format, in), groups = scales.size(1);
  auto* const to = static_cast<std::uint8_t*>(codes.mutable_data_ptr()) + row * bytes;
  std::copy_n(row_scales, groups, scales.mutable_data_ptr<float>() + row * groups);
  if (format != WeightFormat::kInt4) {
    std::copy_n(reinterpret_cast<const std::uint8_t*>(from), in, to);
    return;
  }
  std::fill_n(to, bytes, std::uint8_t{0});
  for (std::int64_t k = 0; k < in; ++k) {
    to[k / 2] |= static_cast<std::uint8_t>((from[k] + 8) << (k % 2 * 4));
  }
}

at::Tensor QuantizedMatrix::Numbers(std::int64_t first, std::int64_t count) const {
  LLAVA_CHECK(first >= 0 && count >= 0 && first + count <= out());
  at::Tensor result = at::empty({count, in}, at::kFloat);
  auto* const to = result.mutable_data_ptr<float>();
  const auto room = [] { return Room(); };
  ParallelJobs(count, ThreadsFor(count * in * 4), room, [&](std::int64_t row, Room& use) {
    use.codes.resize(in);
    use.scales.resize(scales.size(1));
    ReadRow(first + row, use.codes.data(), use.scales.data());
    Dequantize(format, use.codes, use.scales.data(), to + row * in);
  });
  return result;
}

std::int64_t QuantizedMatrix::Bytes(WeightFormat format, std::int64_t out, std::int64_t in) {
  const std::int64_t groups = (in + GroupOf(format) - 1) / GroupOf(format);
  return out * (CodeBytes(format, in) + groups * std::int64_t{sizeof(float)});
}

at::Tensor QuantizedMatrix::Rows(const at::Tensor& rows) const {
  const std::int64_t count = rows.numel();
  const at::Tensor places = rows.contiguous();
  const auto* place = places.const_data_ptr<std::int64_t>();
  at::Tensor result = at::empty({count, in}, at::kFloat);
  std::vector<std::int8_t> row_codes(in);
  std::vector<float> row_scales(scales.size(1));
  for (std::int64_t i = 0; i < count; ++i) {
    LLAVA_CHECK(place[i] >= 0 && place[i] < out());
    ReadRow(place[i], row_codes.data(), row_scales.data());
    Dequantize(format, row_codes, row_scales.data(), result.mutable_data_ptr<float>() + i * in);
  }
  return result;
}

QuantizedMatrix QuantizeMatrix(const at::Tensor& weight_OI, WeightFormat format) {
  const std::int64_t out = weight_OI.size(0), in = weight_OI.size(1);
  QuantizedMatrix result = QuantizedMatrix::Empty(format, out, in);
  const auto room = [] { return Room(); };
  ParallelJobs(out, ThreadsFor(out * in * 4), room, [&](std::int64_t row, Room& use) {
    use.numbers.resize(in);
    use.codes.resize(in);
    use.scales.resize(result.scales.size(1));
    at::from_blob(use.numbers.data(), {in}, at::kFloat).copy_(weight_OI[row]);
    Quantize(format, use.numbers, use.codes.data(), use.scales.data());
    result.WriteRow(row, use.codes.data(), use.scales.data());
  });
  return result;
}

}  // namespace llava::model
