#include "model/checkpoint/stored_tensor.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"

namespace llava::model {
namespace {

struct DTypeRow {
  DType dtype;
  const char* name;
  std::size_t size;
};

constexpr std::array<DTypeRow, 15> kDTypes = {{
    {DType::kBool, "BOOL", 1},
    {DType::kUint8, "U8", 1},
    {DType::kInt8, "I8", 1},
    {DType::kFloat8E5m2, "F8_E5M2", 1},
    {DType::kFloat8E4m3, "F8_E4M3", 1},
    {DType::kInt16, "I16", 2},
    {DType::kUint16, "U16", 2},
    {DType::kFloat16, "F16", 2},
    {DType::kBfloat16, "BF16", 2},
    {DType::kInt32, "I32", 4},
    {DType::kUint32, "U32", 4},
    {DType::kFloat32, "F32", 4},
    {DType::kInt64, "I64", 8},
    {DType::kUint64, "U64", 8},
    {DType::kFloat64, "F64", 8},
}};

const DTypeRow& Row(DType dtype) {
  const auto index = static_cast<std::size_t>(dtype);
  LLAVA_CHECK_LT(index, kDTypes.size());
  LLAVA_CHECK(kDTypes[index].dtype == dtype);
  return kDTypes[index];
}

}  // namespace

std::size_t ElementSize(DType dtype) { return Row(dtype).size; }

const char* DTypeName(DType dtype) { return Row(dtype).name; }

std::optional<DType> DTypeFromName(std::string_view name) {
  for (const DTypeRow& row : kDTypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

std::string ShapeText(const std::vector<std::int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::optional<std::uint64_t> CheckedByteSize(const std::vector<std::int64_t>& shape,
                                             std::size_t element_size) {
  // A zero anywhere must not hide an overflow of the others: the product skips zeros.
  std::int64_t product = static_cast<std::int64_t>(element_size);
  bool empty = false;
  for (const std::int64_t dim : shape) {
    if (dim < 0) return std::nullopt;
    if (dim == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, dim, &product)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : static_cast<std::uint64_t>(product);
}

}  // namespace llava::model
