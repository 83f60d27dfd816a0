#include "model/tensors/tensor_files.h"

#include <ATen/ops/empty.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/safetensors_writer.h"
#include "model/tensors/element_type.h"

namespace llava::model {

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

absl::StatusOr<std::vector<NamedTensor>> LoadTensors(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  absl::StatusOr<TensorMap> map = ReadSafetensors(*file);
  if (!map.ok()) return Annotate(map.status(), path);
  std::vector<NamedTensor> tensors;
  for (const auto& [name, stored] : *map) {
    const absl::StatusOr<at::ScalarType> type = ScalarTypeOf(stored.dtype);
    if (!type.ok()) return Annotate(type.status(), absl::StrCat(path, ": \"", name, "\""));
    at::Tensor tensor = at::empty(stored.shape, *type);
    LLAVA_CHECK_EQ(tensor.nbytes(), stored.bytes.size());
    RETURN_IF_ERROR(file->Read(stored.bytes, tensor.mutable_data_ptr()));
    tensors.push_back({name, std::move(tensor)});
  }
  return tensors;
}

}  // namespace llava::model
