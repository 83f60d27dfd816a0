#include "model/save_tensors.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/checkpoint/safetensors_writer.h"
#include "model/weights.h"

namespace llava::model {

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

namespace {

absl::Status Save(const std::string& path, const std::vector<NamedTensor>& tensors,
                  std::optional<at::ScalarType> as) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) {
    ASSIGN_OR_RETURN(const DType dtype, DTypeOf(as.value_or(tensor.scalar_type())));
    specs.push_back({.name = name, .dtype = dtype, .shape = tensor.sizes().vec()});
  }
  ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, specs));
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor dense =
        tensor.detach().to(at::kCPU, as.value_or(tensor.scalar_type())).contiguous();
    RETURN_IF_ERROR(
        writer.Append({static_cast<const char*>(dense.const_data_ptr()), dense.nbytes()}));
  }
  return writer.Close();
}

}  // namespace

absl::Status SaveTensors(const std::string& path, const std::vector<NamedTensor>& tensors) {
  return Save(path, tensors, std::nullopt);
}

absl::Status SaveTensorsAs(const std::string& path, const std::vector<NamedTensor>& tensors,
                           at::ScalarType dtype) {
  return Save(path, tensors, dtype);
}

}  // namespace llava::model
