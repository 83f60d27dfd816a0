#include "model/network/weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "model/checkpoint/coded_weight.h"
#include "model/checkpoint/finite.h"
#include "model/kernels/cpu/large_pages.h"
#include "model/kernels/cpu/worker_pool.h"
#include "model/network/coded_matrix.h"
#include "model/tensors/element_type.h"

namespace llava::model {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;  // a multiple of every element's size

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

// Calls read(piece, its offset, a buffer for it) for every piece of `bytes`, on this thread and its
// workers; what the first failed one said.
template <typename Read>
absl::Status ForEachPiece(std::string_view bytes, const Read& read) {
  const std::size_t pieces = (bytes.size() + kPiece - 1) / kPiece;
  std::vector<absl::Status> said(pieces);
  const auto buffer = [] { return std::make_unique_for_overwrite<char[]>(kPiece); };
  ParallelJobs(static_cast<std::int64_t>(pieces), static_cast<std::int64_t>(pieces), buffer,
               [&](std::int64_t i, const std::unique_ptr<char[]>& room) {
                 const std::size_t offset = static_cast<std::size_t>(i) * kPiece;
                 said[i] = read(bytes.substr(offset, kPiece), offset, room.get());
               });
  for (absl::Status& status : said) RETURN_IF_ERROR(std::move(status));
  return absl::OkStatus();
}

absl::Status CheckFinite(const CheckpointTensor& tensor) {
  const auto element = static_cast<std::int64_t>(ElementSize(tensor.stored.dtype));
  Mutex mutex;
  NonFinite bad;
  const auto look = [&](std::string_view piece, std::size_t offset, char* room) -> absl::Status {
    RETURN_IF_ERROR(tensor.file->Read(piece, room));
    const NonFinite found = FindNonFinite(tensor.stored.dtype, {room, piece.size()});
    if (found.count == 0) return absl::OkStatus();
    const MutexLock lock(&mutex);
    const std::int64_t first = static_cast<std::int64_t>(offset) / element + found.first;
    bad.first = bad.count == 0 ? first : std::min(bad.first, first);
    bad.count += found.count;
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ForEachPiece(tensor.stored.bytes, look));
  if (bad.count == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      Place(tensor), " has ", bad.count, " values that are NaN or infinite, the first at element ",
      bad.first, " of ", ShapeText(tensor.stored.shape), ", expected finite numbers"));
}

// Looks at all that is stored: numbers that are none, groups that are none.
absl::Status Verify(const CheckpointTensor& tensor) {
  if (tensor.coded == nullptr) return CheckFinite(tensor);
  RETURN_IF_ERROR(CheckFinite(tensor.coded->scales));
  return CodedMatrix::Read(*tensor.coded).status();
}

// A bias that changes nothing, of a layer of the language model.
absl::StatusOr<bool> IsZeroBias(const std::string& name, const CheckpointTensor& tensor) {
  if (!absl::StartsWith(name, kLanguagePrefix) || !absl::EndsWith(name, ".bias")) return false;
  std::string bytes(tensor.stored.bytes.size(), '\0');
  RETURN_IF_ERROR(tensor.file->Read(tensor.stored.bytes, bytes.data()));
  return bytes.find_first_not_of('\0') == std::string::npos;
}

// The bytes as a tensor of `type`; `tensor` shares the mapping until nobody holds the result.
at::Tensor View(const CheckpointTensor& tensor, at::ScalarType type) {
  // from_blob takes a mutable pointer; the mapping is copy-on-write, so writing is harmless.
  void* const data = const_cast<char*>(tensor.stored.bytes.data());
  const auto options = at::TensorOptions().dtype(type);
  const auto keep = [file = tensor.file](void*) {};
  if (tensor.stored.strides.empty()) return at::from_blob(data, tensor.stored.shape, keep, options);
  return at::from_blob(data, tensor.stored.shape, tensor.stored.strides, keep, options);
}

}  // namespace

Packing::Packing(Quantization wanted, at::ScalarType activations, bool on_gpu)
    : Packing(WeightFormatOf(activations)) {
  if (wanted == Quantization::kNone) return;
  quantization = wanted;
  if (wanted == Quantization::kFp8) {
    layers = WeightFormat::kFp8;
    return;
  }
  if (!on_gpu) others = WeightFormat::kInt8;
  layers = wanted == Quantization::kInt4 ? WeightFormat::kInt4 : WeightFormat::kInt8;
}

void WeightSource::Keep(const std::string& name, const at::Tensor& tensor) {
  LLAVA_CHECK(taken_.emplace(name, pack() ? at::Tensor() : tensor).second);
}

at::Tensor WeightSource::TakeSmall(const std::string& name,
                                   const std::vector<std::int64_t>& shape) {
  at::Tensor weight = Take(name, shape);
  if (!pack() || !weight.is_cpu()) return weight;
  return EmptyInLargePages(weight.sizes(), at::kFloat).copy_(weight);
}

Linear WeightSource::TakeLinear(const std::string& prefix, std::int64_t out, std::int64_t in,
                                bool bias) {
  const std::string name = absl::StrCat(prefix, ".weight");
  const auto bias_O = [&] {
    return bias ? Take(absl::StrCat(prefix, ".bias"), {out}) : at::Tensor();
  };
  if (auto codes = TakeCodes(name, out, in)) return Linear(*std::move(codes), bias_O());
  at::Tensor weight_OI = Take(name, {out, in});
  return Linear(std::move(weight_OI), bias_O());
}

absl::StatusOr<at::Tensor> TensorOf(const CheckpointTensor& tensor) {
  if (tensor.coded != nullptr) {
    ASSIGN_OR_RETURN(const CodedMatrix matrix, CodedMatrix::Read(*tensor.coded));
    at::Tensor numbers = at::empty(tensor.stored.shape, at::kFloat);
    matrix.WriteNumbers(numbers.mutable_data_ptr<float>());
    return numbers;
  }
  absl::StatusOr<at::ScalarType> type = ScalarTypeOf(tensor.stored.dtype);
  if (!type.ok()) return Annotate(type.status(), Place(tensor));
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.stored.bytes.data());
  const bool aligned = address % ElementSize(tensor.stored.dtype) == 0;
  if (aligned || tensor.stored.bytes.empty()) return View(tensor, *type);
  std::string copy(tensor.stored.bytes.size(), '\0');  // its memory is aligned for every element
  RETURN_IF_ERROR(tensor.file->Read(tensor.stored.bytes, copy.data()));
  CheckpointTensor moved = tensor;
  moved.stored.bytes = copy;
  return View(moved, *type).clone();
}

CheckpointWeights::CheckpointWeights(const Checkpoint& checkpoint, WeightOptions options)
    : checkpoint_(checkpoint),
      options_(std::move(options)),
      coded_(std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(),
                         [](const auto& item) { return item.second.coded != nullptr; })) {}

at::Tensor CheckpointWeights::Buffer(std::int64_t bytes) {
  const auto is_free = [](const at::Tensor& buffer) { return buffer.storage().use_count() == 1; };
  const auto fits = [&](const at::Tensor& b) { return is_free(b) && b.numel() >= bytes; };
  auto at = std::find_if(buffers_.begin(), buffers_.end(), fits);
  if (at == buffers_.end()) {
    // Instead of one that is too small: there are never more than one layer needs.
    const auto small = std::find_if(buffers_.begin(), buffers_.end(), is_free);
    if (small != buffers_.end()) buffers_.erase(small);
    at = buffers_.insert(buffers_.end(), EmptyInLargePages({bytes}, at::kByte));
  }
  return at->narrow(0, 0, bytes);
}

absl::StatusOr<at::Tensor> CheckpointWeights::Read(const CheckpointTensor& tensor) {
  const StoredTensor& stored = tensor.stored;
  if (tensor.coded != nullptr) {
    ASSIGN_OR_RETURN(const CodedMatrix matrix, CodedMatrix::Read(*tensor.coded));
    const std::int64_t bytes = matrix.out() * matrix.in() * std::int64_t{sizeof(float)};
    at::Tensor numbers = Buffer(bytes).view(at::kFloat).view(stored.shape);
    matrix.WriteNumbers(numbers.mutable_data_ptr<float>());
    return numbers;
  }
  absl::StatusOr<at::ScalarType> type = ScalarTypeOf(stored.dtype);
  if (!type.ok()) return Annotate(type.status(), Place(tensor));
  const at::Tensor bytes = Buffer(static_cast<std::int64_t>(stored.bytes.size()));
  char* const to = static_cast<char*>(bytes.mutable_data_ptr());
  RETURN_IF_ERROR(
      ForEachPiece(stored.bytes, [&](std::string_view piece, std::size_t offset, char*) {
        return tensor.file->Read(piece, to + offset);
      }));
  const at::Tensor elements = bytes.view(*type);
  return stored.strides.empty() ? elements.view(stored.shape)
                                : elements.as_strided(stored.shape, stored.strides);
}

absl::StatusOr<const CheckpointTensor*> CheckpointWeights::Find(
    const std::string& name, const std::vector<std::int64_t>& shape) const {
  const auto at = checkpoint_.tensors().find(name);
  if (at == checkpoint_.tensors().end()) {
    return absl::NotFoundError(absl::StrCat(absl::StrJoin(checkpoint_.files(), ", "),
                                            ": the tensor \"", name, "\" is missing, expected ",
                                            ShapeText(shape)));
  }
  const CheckpointTensor& stored = at->second;
  if (stored.stored.shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        Place(stored), stored.coded ? " is of a matrix of the shape " : " has the shape ",
        ShapeText(stored.stored.shape), ", expected ", ShapeText(shape), " by config.json"));
  }
  return &stored;
}

absl::StatusOr<at::Tensor> CheckpointWeights::LoadPart(const std::string& name,
                                                       const std::vector<std::int64_t>& shape,
                                                       DType dtype) {
  ASSIGN_OR_RETURN(const CheckpointTensor* const found, Find(name, shape));
  if (found->stored.dtype != dtype) {
    return absl::InvalidArgumentError(
        absl::StrCat(Place(*found), " has the dtype ", DTypeName(found->stored.dtype),
                     ", expected ", DTypeName(dtype), " by quantization_config in config.json"));
  }
  if (options_.verify && IsFloatingPoint(dtype)) RETURN_IF_ERROR(CheckFinite(*found));
  if (options_.device.is_meta()) return Placeholder(shape);
  ASSIGN_OR_RETURN(const at::Tensor part, Read(*found));
  return part.contiguous();
}

absl::StatusOr<QuantizedMatrix> CheckpointWeights::LoadCodes(const std::string& name,
                                                             std::int64_t out, std::int64_t in) {
  if (!options_.device.is_meta() && !options_.pack) {
    return absl::UnimplementedError(
        absl::StrCat(absl::StrJoin(checkpoint_.files(), ", "), ": \"", name, "\" is of ",
                     QuantizationName(options_.stored),
                     ", which can only be served: for training, take the checkpoint that it was "
                     "quantised from"));
  }
  const bool int4 = options_.stored == Quantization::kInt4 && IsDecoderProduct(name);
  QuantizedMatrix matrix{.format = int4 ? WeightFormat::kInt4 : WeightFormat::kInt8, .in = in};
  const std::int64_t groups = (in + GroupOf(matrix.format) - 1) / GroupOf(matrix.format);
  ASSIGN_OR_RETURN(matrix.codes, LoadPart(name, {out, int4 ? (in + 1) / 2 : in},
                                          int4 ? DType::kUint8 : DType::kInt8));
  ASSIGN_OR_RETURN(matrix.scales,
                   LoadPart(absl::StrCat(name, kScaleSuffix), {out, groups}, DType::kFloat32));
  return matrix;
}

absl::StatusOr<QuantizedMatrix> CheckpointWeights::Quantized(const std::string& name,
                                                             std::int64_t out, std::int64_t in,
                                                             WeightFormat format) {
  ASSIGN_OR_RETURN(const CheckpointTensor* const found, Find(name, {out, in}));
  if (found->coded == nullptr) {
    ASSIGN_OR_RETURN(at::Tensor numbers, LoadNumbers(name, {out, in}));
    if (options_.dtype && !packs_for_gpu()) numbers = numbers.to(*options_.dtype);
    return QuantizeMatrix(numbers.contiguous(), format);
  }
  if (options_.verify) RETURN_IF_ERROR(Verify(*found));
  ASSIGN_OR_RETURN(const CodedMatrix matrix, CodedMatrix::Read(*found->coded));
  return matrix.Quantized(format);
}

std::optional<QuantizedMatrix> CheckpointWeights::TakeCodes(const std::string& name,
                                                            std::int64_t out, std::int64_t in) {
  if (!status_.ok()) return std::nullopt;
  const bool stored = options_.stored != Quantization::kNone;
  const bool frozen = options_.frozen_layers && IsDecoderProduct(name);
  const WeightFormat format = frozen                   ? *options_.frozen_layers
                              : !options_.pack         ? WeightFormat::kFp32
                              : IsDecoderProduct(name) ? options_.pack->layers
                                                       : options_.pack->others;
  if (packs_for_gpu() ? GroupOf(format) == 0
                      : !stored && !frozen && !(coded_ && GroupOf(format) > 0)) {
    return std::nullopt;
  }
  absl::StatusOr<QuantizedMatrix> codes =
      stored ? LoadCodes(name, out, in) : Quantized(name, out, in, format);
  if (!codes.ok()) {
    status_ = codes.status();
    return std::nullopt;
  }
  Keep(name, at::Tensor());
  Keep(absl::StrCat(name, kScaleSuffix), at::Tensor());
  codes->codes = codes->codes.to(options_.device);
  codes->scales = codes->scales.to(options_.device);
  return *std::move(codes);
}

absl::StatusOr<at::Tensor> CheckpointWeights::LoadNumbers(const std::string& name,
                                                          const std::vector<std::int64_t>& shape) {
  ASSIGN_OR_RETURN(const CheckpointTensor* const found, Find(name, shape));
  const CheckpointTensor& stored = *found;
  // What are codes on CPUs, beside the decoder's layers.
  if (packs_for_gpu() && options_.stored != Quantization::kNone &&
      stored.stored.dtype == DType::kInt8 && shape.size() == 2) {
    ASSIGN_OR_RETURN(const QuantizedMatrix codes, LoadCodes(name, shape[0], shape[1]));
    Keep(absl::StrCat(name, kScaleSuffix), at::Tensor());
    return codes.Numbers(0, codes.out());
  }
  if (!IsFloatingPoint(stored.stored.dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(Place(stored), " has the dtype ",
                                                   DTypeName(stored.stored.dtype),
                                                   ", expected F16, BF16, F32 or F64"));
  }
  if (options_.verify) RETURN_IF_ERROR(Verify(stored));
  if (stored.coded != nullptr && options_.device.is_meta()) {
    return Placeholder(shape).to(options_.dtype.value_or(at::kFloat));
  }
  ASSIGN_OR_RETURN(const at::Tensor raw, options_.pack ? Read(stored) : TensorOf(stored));
  const auto adapter = options_.merged.find(name);
  return adapter == options_.merged.end() ? raw : adapter->second.Merged(raw);
}

absl::StatusOr<at::Tensor> CheckpointWeights::Load(const std::string& name,
                                                   const std::vector<std::int64_t>& shape) {
  ASSIGN_OR_RETURN(const at::Tensor raw, LoadNumbers(name, shape));
  return raw.to(options_.device, options_.dtype.value_or(raw.scalar_type())).contiguous();
}

at::Tensor CheckpointWeights::Take(const std::string& name,
                                   const std::vector<std::int64_t>& shape) {
  if (!status_.ok()) return Placeholder(shape);
  absl::StatusOr<at::Tensor> tensor = Load(name, shape);
  if (!tensor.ok()) {
    status_ = tensor.status();
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
    ASSIGN_OR_RETURN(const bool idle, IsZeroBias(name, tensor));
    if (idle) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(Place(tensor), " ", ShapeText(tensor.stored.shape),
                     " is an extra tensor: config.json has no place for it"));
  }
  return absl::OkStatus();
}

}  // namespace llava::model
