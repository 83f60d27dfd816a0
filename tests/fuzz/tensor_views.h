// What the parsers of weight files promise, checked.
#ifndef LLAVA_TESTS_FUZZ_TENSOR_VIEWS_H_
#define LLAVA_TESTS_FUZZ_TENSOR_VIEWS_H_

#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

// Every element that shape and strides reach lies within the file.
inline void CheckTensorViews(const TensorMap& tensors, std::string_view file) {
  for (const auto& [name, tensor] : tensors) {
    bool empty = false;
    std::uint64_t last = 0;  // the farthest element
    std::uint64_t dense = 1;
    for (const std::int64_t extent : tensor.shape) {
      LLAVA_CHECK_GE(extent, 0);
      empty |= extent == 0;
      dense *= static_cast<std::uint64_t>(extent);
    }
    if (empty) continue;
    if (tensor.strides.empty()) {
      last = dense - 1;
    } else {
      LLAVA_CHECK_EQ(tensor.strides.size(), tensor.shape.size());
      for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
        last += static_cast<std::uint64_t>(tensor.shape[i] - 1) *
                static_cast<std::uint64_t>(tensor.strides[i]);
      }
    }
    LLAVA_CHECK_LE((last + 1) * ElementSize(tensor.dtype), tensor.bytes.size());
    LLAVA_CHECK(tensor.bytes.data() >= file.data());
    LLAVA_CHECK(tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size());
  }
}

}  // namespace llava::model

#endif  // LLAVA_TESTS_FUZZ_TENSOR_VIEWS_H_
