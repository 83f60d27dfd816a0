#include "model/weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/finite.h"

namespace llava::model {
namespace {

at::Tensor Placeholder(const std::vector<std::int64_t>& shape) {
  return at::empty(shape, at::TensorOptions().device(at::kMeta));
}

bool IsFloatingPoint(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBfloat16 || dtype == DType::kFloat32 ||
         dtype == DType::kFloat64;
}

std::string Place(const CheckpointTensor& tensor) {
  return absl::StrCat(tensor.file->path(), ": \"", tensor.key, "\"");
}

absl::Status CheckFinite(const CheckpointTensor& tensor) {
  const NonFinite bad = FindNonFinite(tensor.stored);
  if (bad.count == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      Place(tensor), " has ", bad.count, " values that are NaN or infinite, the first at element ",
      bad.first, " of ", ShapeText(tensor.stored.shape), ", expected finite numbers"));
}

// The bytes as a tensor of `type`; `tensor` shares the mapping until nobody holds the result.
at::Tensor View(const CheckpointTensor& tensor, at::ScalarType type, bool read_once) {
  // from_blob takes a mutable pointer; the mapping is copy-on-write, so writing is harmless.
  void* const data = const_cast<char*>(tensor.stored.bytes.data());
  const auto options = at::TensorOptions().dtype(type);
  const auto keep = [file = tensor.file, bytes = tensor.stored.bytes, read_once](void*) {
    if (read_once) file->Forget(bytes);
  };
  if (tensor.stored.strides.empty()) return at::from_blob(data, tensor.stored.shape, keep, options);
  return at::from_blob(data, tensor.stored.shape, tensor.stored.strides, keep, options);
}

}  // namespace

void WeightSource::Keep(const std::string& name, const at::Tensor& tensor) {
  LLAVA_CHECK(taken_.emplace(name, tensor).second);
}

Linear WeightSource::TakeLinear(const std::string& prefix, std::int64_t out, std::int64_t in,
                                bool bias) {
  at::Tensor weight_OI = Take(absl::StrCat(prefix, ".weight"), {out, in});
  return Linear(std::move(weight_OI),
                bias ? Take(absl::StrCat(prefix, ".bias"), {out}) : at::Tensor());
}

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

absl::StatusOr<at::Tensor> TensorOf(const CheckpointTensor& tensor, bool read_once) {
  absl::StatusOr<at::ScalarType> type = ScalarTypeOf(tensor.stored.dtype);
  if (!type.ok()) return Annotate(type.status(), Place(tensor));
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.stored.bytes.data());
  const bool aligned = address % ElementSize(tensor.stored.dtype) == 0;
  if (aligned || tensor.stored.bytes.empty()) return View(tensor, *type, read_once);
  const std::string copy(tensor.stored.bytes);  // a string's memory is aligned for every element
  CheckpointTensor moved = tensor;
  moved.stored.bytes = copy;
  return View(moved, *type, /*read_once=*/false).clone();
}

absl::StatusOr<at::Tensor> CheckpointWeights::Load(const std::string& name,
                                                   const std::vector<std::int64_t>& shape) {
  const auto at = checkpoint_.tensors().find(name);
  if (at == checkpoint_.tensors().end()) {
    return absl::NotFoundError(absl::StrCat(absl::StrJoin(checkpoint_.files(), ", "),
                                            ": the tensor \"", name, "\" is missing, expected ",
                                            ShapeText(shape)));
  }
  const CheckpointTensor& stored = at->second;
  if (stored.stored.shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat(Place(stored), " has the shape ",
                                                   ShapeText(stored.stored.shape), ", expected ",
                                                   ShapeText(shape), " by config.json"));
  }
  if (!IsFloatingPoint(stored.stored.dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(Place(stored), " has the dtype ",
                                                   DTypeName(stored.stored.dtype),
                                                   ", expected F16, BF16, F32 or F64"));
  }
  if (options_.verify) {
    RETURN_IF_ERROR(CheckFinite(stored));
    if (options_.read_once) stored.file->Forget(stored.stored.bytes);
  }
  ASSIGN_OR_RETURN(const at::Tensor raw, TensorOf(stored, options_.read_once));
  return raw.to(options_.device, options_.dtype.value_or(raw.scalar_type())).contiguous();
}

at::Tensor CheckpointWeights::Take(const std::string& name,
                                   const std::vector<std::int64_t>& shape) {
  absl::StatusOr<at::Tensor> tensor = Load(name, shape);
  if (!tensor.ok()) {
    status_.Update(tensor.status());
    return Placeholder(shape);
  }
  Keep(name, *tensor);
  return *tensor;
}

absl::Status CheckpointWeights::CheckNothingLeft(const std::vector<std::string>& dormant) const {
  for (const auto& [name, tensor] : checkpoint_.tensors()) {
    const bool expected =
        taken().contains(name) ||
        std::any_of(dormant.begin(), dormant.end(),
                    [&](const std::string& prefix) { return absl::StartsWith(name, prefix); });
    if (expected) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(Place(tensor), " ", ShapeText(tensor.stored.shape),
                     " is an extra tensor: config.json has no place for it"));
  }
  return absl::OkStatus();
}

}  // namespace llava::model
