// Tensors whose surroundings tell whether somebody wrote there.
#ifndef LLAVA_TESTS_SUPPORT_GUARDED_TENSOR_H_
#define LLAVA_TESTS_SUPPORT_GUARDED_TENSOR_H_

#include <ATen/ATen.h>

#include <cstdint>
#include <limits>

namespace llava::test {

// Rows of numbers within memory that holds NaN elsewhere: before the first row, between the rows
// and behind the last. They are NaN themselves until they are filled.
class GuardedRows {
 public:
  // `gap` elements lie between two rows.
  GuardedRows(std::int64_t rows, std::int64_t width, std::int64_t gap, at::ScalarType dtype)
      : rows_(rows),
        width_(width),
        gap_(gap),
        memory_(at::full({2 * kGuard + rows * (width + gap)},
                         std::numeric_limits<double>::quiet_NaN(), at::dtype(dtype))) {}

  // The same with the numbers of `values` [rows, ...].
  GuardedRows(const at::Tensor& values, std::int64_t gap)
      : GuardedRows(values.size(0), values[0].numel(), gap, values.scalar_type()) {
    rows().copy_(values.reshape({values.size(0), -1}));
  }

  at::Tensor rows() const { return RowsOf(memory_); }  // [rows, width], a view
  void* data() const { return rows().data_ptr(); }
  std::int64_t stride() const { return width_ + gap_; }

  bool nothing_around_was_written() const {
    const at::Tensor around = memory_.clone();
    RowsOf(around).fill_(std::numeric_limits<double>::quiet_NaN());
    return around.isnan().all().item<bool>();
  }

 private:
  static constexpr std::int64_t kGuard = 32;  // a multiple of what kernels load at once

  at::Tensor RowsOf(const at::Tensor& memory) const {
    return memory.as_strided({rows_, width_}, {stride(), 1}, kGuard);
  }

  std::int64_t rows_, width_, gap_;
  at::Tensor memory_;
};

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_GUARDED_TENSOR_H_
