#include "model/network/coded_matrix.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <span>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/kernels/cpu/quantize.h"
#include "model/kernels/cpu/worker_pool.h"
#include "model/tensors/element_type.h"

namespace llava::model {
namespace {

// Rows that are unpacked together: their words of an input share cache lines.
constexpr std::int64_t kRows = 64;

// Which of eight neighbouring outputs has the bits 4 j to 4 j + 3 of AWQ's word.
constexpr std::int64_t kAwqOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};

// Of a word, which holds numbers of `bits`.
std::int32_t CodeAt(std::int32_t word, std::int64_t place, int bits) {
  const auto shifted = static_cast<std::uint32_t>(word) >> (place * bits);
  return static_cast<std::int32_t>(shifted & ((1u << bits) - 1));
}

std::int64_t OutputAt(const ForeignCodes& codes, std::int64_t word, std::int64_t place) {
  if (codes.method == ForeignCodes::Method::kAwq) {
    return word * 8 + kAwqOrder[place];
  }
  return word * (32 / codes.bits) + place;
}

absl::StatusOr<at::Tensor> ReadPart(const CheckpointTensor& part) {
  ASSIGN_OR_RETURN(const at::ScalarType type, ScalarTypeOf(part.stored.dtype));
  at::Tensor tensor = at::empty(part.stored.shape, type);
  RETURN_IF_ERROR(part.file->Read(part.stored.bytes, tensor.mutable_data_ptr()));
  return tensor;
}

// Zero points [groups, out] of words [groups, words].
std::vector<std::int16_t> UnpackZeros(const ForeignCodes& codes, const at::Tensor& words_GW) {
  const std::int64_t groups = words_GW.size(0), words = words_GW.size(1);
  const std::int64_t a_word = 32 / codes.bits;
  const auto* from = words_GW.const_data_ptr<std::int32_t>();
  std::vector<std::int16_t> zeros(groups * words * a_word);
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t w = 0; w < words; ++w) {
      for (std::int64_t j = 0; j < a_word; ++j) {
        // A zero point of 0 has become the greatest number where one was taken off.
        const std::int32_t zero =
            CodeAt(CodeAt(from[g * words + w], j, codes.bits) + codes.zero_offset, 0, codes.bits);
        zeros[g * words * a_word + OutputAt(codes, w, j)] = static_cast<std::int16_t>(zero);
      }
    }
  }
  return zeros;
}

// Whether the inputs from `begin` to `end` of a row have one scale and codes of `range`.
bool IsExact(CodeRange range, std::span<const std::int16_t> codes,
             std::span<const std::int32_t> group_of, std::span<const float> scales) {
  const float scale = scales[group_of.front()];
  for (std::size_t k = 0; k < codes.size(); ++k) {
    if (codes[k] < range.least || codes[k] > range.most) return false;
    if (scales[group_of[k]] != scale) return false;
  }
  return true;
}

}  // namespace

// What a thread works with.
struct CodedMatrix::Room {
  std::vector<std::int16_t> rows;
  std::vector<float> scales;
  // Of a row, for Quantized:
  std::vector<float> numbers;
  std::vector<std::int8_t> codes;
  std::vector<float> code_scales;
};

absl::Status CodedMatrix::ReadGroups(const CodedWeight& weight) {
  group_of_.resize(in_);
  if (!weight.g_idx) {
    const std::int64_t group = codes_.group == 0 ? in_ : codes_.group;
    for (std::int64_t k = 0; k < in_; ++k) {
      group_of_[k] = static_cast<std::int32_t>(k / group);
    }
    return absl::OkStatus();
  }
  const CheckpointTensor& g_idx = *weight.g_idx;
  RETURN_IF_ERROR(g_idx.file->Read(g_idx.stored.bytes, group_of_.data()));
  for (std::size_t k = 0; k < group_of_.size(); ++k) {
    if (group_of_[k] >= 0 && group_of_[k] < groups_) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        g_idx.file->path(), ": \"", g_idx.key, "\" ", ShapeText(g_idx.stored.shape), " has ",
        group_of_[k], " at element ", k, ", expected a group from 0 to ", groups_ - 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<CodedMatrix> CodedMatrix::Read(const CodedWeight& weight) {
  CodedMatrix matrix(weight);
  RETURN_IF_ERROR(matrix.ReadGroups(weight));
  ASSIGN_OR_RETURN(matrix.words_, ReadPart(weight.qweight));
  ASSIGN_OR_RETURN(const at::Tensor zeros_GW, ReadPart(weight.qzeros));
  matrix.zeros_ = UnpackZeros(weight.codes, zeros_GW);
  ASSIGN_OR_RETURN(const at::Tensor scales_GO, ReadPart(weight.scales));
  matrix.scales_GO_ = scales_GO.to(at::kFloat);
  return matrix;
}

// A little longer than a row: rows whose lengths are powers of two would take each other's places
// in the cache.
std::int64_t CodedMatrix::Stride() const { return in_ + 32; }

void CodedMatrix::ReadRows(std::int64_t first, std::int64_t rows, std::int16_t* to) const {
  const bool awq = codes_.method == ForeignCodes::Method::kAwq;
  const std::int64_t a_word = 32 / codes_.bits;
  const auto* words = words_.const_data_ptr<std::int32_t>();
  const auto put = [&](std::int64_t row, std::int64_t k, std::int32_t code) {
    const std::int32_t zero = zeros_[group_of_[k] * out_ + row];
    to[(row - first) * Stride() + k] = static_cast<std::int16_t>(code - zero);
  };
  const std::int64_t lines = words_.size(0), width = words_.size(1);
  const std::int64_t begin = awq ? first / a_word : first;
  const std::int64_t end = awq ? (first + rows) / a_word : first + rows;
  for (std::int64_t line = 0; line < lines; ++line) {
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int32_t word = words[line * width + at];
      for (std::int64_t j = 0; j < a_word; ++j) {
        const std::int64_t row = awq ? OutputAt(codes_, at, j) : at;
        put(row, awq ? line : line * a_word + j, CodeAt(word, j, codes_.bits));
      }
    }
  }
}

template <typename Visit>
void CodedMatrix::ForEachRow(const Visit& visit) const {
  const auto* scales = scales_GO_.const_data_ptr<float>();
  const auto room = [] { return Room(); };
  ParallelJobs((out_ + kRows - 1) / kRows, ThreadsFor(out_ * in_ * 4), room,
               [&](std::int64_t block, Room& use) {
                 const std::int64_t first = block * kRows, rows = std::min(kRows, out_ - first);
                 use.rows.resize(rows * Stride());
                 use.scales.resize(groups_);
                 ReadRows(first, rows, use.rows.data());
                 for (std::int64_t row = first; row < first + rows; ++row) {
                   for (std::int64_t g = 0; g < groups_; ++g) {
                     use.scales[g] = scales[g * out_ + row];
                   }
                   visit(row, use.rows.data() + (row - first) * Stride(), use);
                 }
               });
}

void CodedMatrix::WriteNumbers(float* to) const {
  ForEachRow([&](std::int64_t row, const std::int16_t* codes, const Room& room) {
    float* const numbers = to + row * in_;
    for (std::int64_t k = 0; k < in_; ++k) {
      numbers[k] = static_cast<float>(codes[k]) * room.scales[group_of_[k]];
    }
  });
}

QuantizedMatrix CodedMatrix::Quantized(WeightFormat format) const {
  QuantizedMatrix result = QuantizedMatrix::Empty(format, out_, in_);
  const CodeRange range = RangeOf(format);
  ForEachRow([&](std::int64_t row, const std::int16_t* row_codes, Room& room) {
    room.numbers.resize(in_);
    room.codes.resize(in_);
    room.code_scales.clear();
    for (std::int64_t k = 0; k < in_; k += GroupOf(format)) {
      const std::int64_t count = std::min(GroupOf(format), in_ - k);
      const std::span<const std::int16_t> codes(row_codes + k, count);
      const std::span<const std::int32_t> groups = std::span(group_of_).subspan(k, count);
      float& scale = room.code_scales.emplace_back(room.scales[groups.front()]);
      if (IsExact(range, codes, groups, room.scales)) {
        std::transform(codes.begin(), codes.end(), room.codes.begin() + k,
                       [](std::int16_t code) { return static_cast<std::int8_t>(code); });
        continue;
      }
      const std::span<float> numbers = std::span(room.numbers).subspan(k, count);
      for (std::int64_t i = 0; i < count; ++i) {
        numbers[i] = static_cast<float>(codes[i]) * room.scales[groups[i]];
      }
      Quantize(format, numbers, room.codes.data() + k, &scale);
    }
    result.WriteRow(row, room.codes.data(), room.code_scales.data());
  });
  return result;
}

}  // namespace llava::model
