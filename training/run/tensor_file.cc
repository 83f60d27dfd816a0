#include "training/run/tensor_file.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/safetensors.h"
#include "model/weights.h"

namespace llava::training {
namespace {

model::DType DTypeOf(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return model::DType::kFloat32;
    case at::kBFloat16:
      return model::DType::kBfloat16;
    case at::kHalf:
      return model::DType::kFloat16;
    case at::kLong:
      return model::DType::kInt64;
    default:
      LLAVA_CHECK(false && "a dtype that training does not save");
  }
}

std::string_view BytesOf(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

}  // namespace

absl::Status WriteTensorFile(const std::string& path, const std::vector<NamedTensor>& tensors) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> dense;
  boost::json::object header;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    dense.push_back(tensor.detach().to(at::kCPU).contiguous());
    boost::json::object entry;
    entry["dtype"] = std::string(model::DTypeName(DTypeOf(tensor.scalar_type())));
    entry["shape"] = boost::json::array(tensor.sizes().begin(), tensor.sizes().end());
    entry["data_offsets"] = boost::json::array{offset, offset + dense.back().nbytes()};
    offset += dense.back().nbytes();
    header[name] = std::move(entry);
  }
  LLAVA_CHECK_EQ(header.size(), tensors.size());
  std::string text = boost::json::serialize(header);
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t size = text.size();
  std::string prefix(sizeof(size), '\0');
  std::memcpy(prefix.data(), &size, sizeof(size));
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  RETURN_IF_ERROR(file.Write(prefix));
  RETURN_IF_ERROR(file.Write(text));
  for (const at::Tensor& tensor : dense) RETURN_IF_ERROR(file.Write(BytesOf(tensor)));
  return file.Close();
}

absl::StatusOr<std::vector<NamedTensor>> ReadTensorFile(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, model::MappedFile::Open(path));
  absl::StatusOr<model::TensorMap> map = model::ReadSafetensors(*file);
  if (!map.ok()) return Annotate(map.status(), path);
  std::vector<NamedTensor> tensors;
  for (const auto& [name, stored] : *map) {
    ASSIGN_OR_RETURN(const at::ScalarType type, model::ScalarTypeOf(stored.dtype));
    at::Tensor tensor = at::empty(stored.shape, type);
    LLAVA_CHECK_EQ(tensor.nbytes(), stored.bytes.size());
    RETURN_IF_ERROR(file->Read(stored.bytes, tensor.mutable_data_ptr()));
    tensors.push_back({name, std::move(tensor)});
  }
  return tensors;
}

}  // namespace llava::training
