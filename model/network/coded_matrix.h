// A matrix that AWQ or GPTQ quantised, in memory: as numbers, or as codes of our own formats.
#ifndef LLAVA_MODEL_NETWORK_CODED_MATRIX_H_
#define LLAVA_MODEL_NETWORK_CODED_MATRIX_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint/coded_weight.h"
#include "model/kernels/cpu/quantized_matrix.h"

namespace llava::model {

// Immutable, but for a call of Read.
class CodedMatrix {
 public:
  // Reads past the mappings: DATA_LOSS for a file that was cut meanwhile. INVALID_ARGUMENT where
  // g_idx names a group that is not there.
  static absl::StatusOr<CodedMatrix> Read(const CodedWeight& weight);

  std::int64_t out() const { return out_; }
  std::int64_t in() const { return in_; }

  // Writes the numbers, fp32 [out, in] row by row: (code - zero point) * scale is exact there.
  void WriteNumbers(float* to) const;

  // In a format of codes. A group of ours keeps its codes and its scale, and all its numbers, where
  // all its inputs have one scale and the codes less their zero points are within the format's
  // range; other groups are rounded as Quantize does.
  QuantizedMatrix Quantized(WeightFormat format) const;

 private:
  struct Room;

  explicit CodedMatrix(const CodedWeight& weight)
      : codes_(weight.codes), out_(weight.out), in_(weight.in), groups_(weight.groups) {}

  absl::Status ReadGroups(const CodedWeight& weight);
  // Codes less their zero points of neighbouring rows, [rows, Stride()].
  void ReadRows(std::int64_t first, std::int64_t rows, std::int16_t* to) const;
  std::int64_t Stride() const;
  // Calls visit(row, its codes [in], room, of which room.scales [groups] are the row's).
  template <typename Visit>
  void ForEachRow(const Visit& visit) const;

  ForeignCodes codes_;
  std::int64_t out_, in_, groups_;
  at::Tensor words_;                    // int32, as qweight
  std::vector<std::int16_t> zeros_;     // [groups, out]
  at::Tensor scales_GO_;                // fp32
  std::vector<std::int32_t> group_of_;  // [in]
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_CODED_MATRIX_H_
