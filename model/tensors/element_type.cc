#include "model/tensors/element_type.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::model {

absl::StatusOr<at::ScalarType> ScalarTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return at::kBool;
    case DType::kUint8:
      return at::kByte;
    case DType::kInt8:
      return at::kChar;
    case DType::kInt16:
      return at::kShort;
    case DType::kInt32:
      return at::kInt;
    case DType::kInt64:
      return at::kLong;
    case DType::kFloat16:
      return at::kHalf;
    case DType::kBfloat16:
      return at::kBFloat16;
    case DType::kFloat32:
      return at::kFloat;
    case DType::kFloat64:
      return at::kDouble;
    default:
      return absl::UnimplementedError(
          absl::StrCat("tensors of dtype ", DTypeName(dtype), " are not supported"));
  }
}

absl::StatusOr<DType> DTypeOf(at::ScalarType type) {
  for (const DType dtype :
       {DType::kBool, DType::kUint8, DType::kInt8, DType::kInt16, DType::kFloat16, DType::kBfloat16,
        DType::kInt32, DType::kFloat32, DType::kInt64, DType::kFloat64}) {
    ASSIGN_OR_RETURN(const at::ScalarType candidate, ScalarTypeOf(dtype));
    if (candidate == type) return dtype;
  }
  return absl::UnimplementedError(
      absl::StrCat("safetensors files have no ", c10::toString(type), " tensors"));
}

}  // namespace llava::model
