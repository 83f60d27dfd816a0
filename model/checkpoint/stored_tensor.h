// Tensors as they lie in a checkpoint file: names, element types, shapes, and views of the bytes.
// Free of LibTorch, so that the parsers can be fuzzed; model/network/weights.h makes at::Tensors of
// them.
#ifndef LLAVA_MODEL_CHECKPOINT_STORED_TENSOR_H_
#define LLAVA_MODEL_CHECKPOINT_STORED_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llava::model {

// The element types of the safetensors format.
enum class DType {
  kBool,
  kUint8,
  kInt8,
  kFloat8E5m2,
  kFloat8E4m3,
  kInt16,
  kUint16,
  kFloat16,
  kBfloat16,
  kInt32,
  kUint32,
  kFloat32,
  kInt64,
  kUint64,
  kFloat64,
};

// Bytes of one element.
std::size_t ElementSize(DType dtype);

// The name in a safetensors header: "BF16".
const char* DTypeName(DType dtype);
std::optional<DType> DTypeFromName(std::string_view name);

// Invariant (kept by the parsers): every element that shape and strides reach lies inside `bytes`.
struct StoredTensor {
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;    // each >= 0; empty: a scalar
  std::vector<std::int64_t> strides;  // in elements, each >= 0; empty: dense, row by row
  std::string_view bytes;             // into the file's mapping; any alignment
};

using TensorMap = std::map<std::string, StoredTensor, std::less<>>;

// "[2, 3]".
std::string ShapeText(const std::vector<std::int64_t>& shape);

// The product of the dimensions, or nothing when one is negative or the product times
// `element_size` does not fit in 63 bits.
std::optional<std::uint64_t> CheckedByteSize(const std::vector<std::int64_t>& shape,
                                             std::size_t element_size);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_STORED_TENSOR_H_
