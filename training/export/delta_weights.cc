#include "training/export/delta_weights.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/count_nonzero.h>
#include <ATen/ops/item.h>
#include <ATen/ops/max.h>
#include <ATen/ops/ne.h>

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/manifest.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/safetensors_writer.h"
#include "model/checkpoint/stored_tensor.h"
#include "model/checkpoint/weight_files.h"
#include "model/checkpoint/weight_names.h"
#include "model/network/weights.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

using model::CheckpointTensor;

constexpr char kDeltaFile[] = "delta.json";
constexpr char kProjectorFile[] = "mm_projector.bin";
constexpr std::size_t kMaxDeltaFileBytes = 4096;

enum class Direction { kMake, kApply };

std::string_view BytesOf(const at::Tensor& dense) {
  return {static_cast<const char*>(dense.const_data_ptr()), dense.nbytes()};
}

std::string Where(const CheckpointTensor& tensor) {
  return absl::StrCat(tensor.file->path(), ": \"", tensor.key, "\" ",
                      model::ShapeText(tensor.stored.shape));
}

bool IsDecoder(const std::string& name) {
  return absl::StartsWith(name, model::kLanguagePrefix) || name == model::kLmHeadName;
}

// A row a token: more tokens may have been added to the base's.
bool IsTable(const std::string& name) {
  return name == absl::StrCat(model::kLanguagePrefix, "embed_tokens.weight") ||
         name == model::kLmHeadName;
}

bool IsFloat(model::DType dtype) {
  return dtype == model::DType::kFloat32 || dtype == model::DType::kFloat16 ||
         dtype == model::DType::kBfloat16 || dtype == model::DType::kFloat64;
}

absl::Status CheckShapes(const std::string& name, const CheckpointTensor& base,
                         const CheckpointTensor& other) {
  if (!IsFloat(base.stored.dtype) || !IsFloat(other.stored.dtype)) {
    const CheckpointTensor& wrong = IsFloat(other.stored.dtype) ? base : other;
    return absl::InvalidArgumentError(
        absl::StrCat(Where(wrong), " is ", model::DTypeName(wrong.stored.dtype),
                     ", expected floating point: codes have no difference"));
  }
  const std::vector<std::int64_t>& small = base.stored.shape;
  const std::vector<std::int64_t>& large = other.stored.shape;
  if (small == large) return absl::OkStatus();
  const bool grown = IsTable(name) && small.size() == 2 && large.size() == 2 &&
                     small[1] == large[1] && small[0] < large[0];
  if (grown) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(Where(other), ", expected the shape of the base's, ", Where(base),
                   IsTable(name) ? ", or more rows" : ""));
}

// Every tensor of a decoder is in both.
absl::Status CheckNames(const model::Checkpoint& base, const model::Checkpoint& other) {
  const auto missing = [](const CheckpointTensor& tensor, const model::Checkpoint& from) {
    return absl::InvalidArgumentError(absl::StrCat(Where(tensor), " has no counterpart in ",
                                                   from.files().front(),
                                                   ": is that another model?"));
  };
  for (const auto& [name, tensor] : other.tensors()) {
    const auto found = base.tensors().find(name);
    if (found != base.tensors().end()) {
      RETURN_IF_ERROR(CheckShapes(name, found->second, tensor));
    } else if (IsDecoder(name)) {
      return missing(tensor, base);
    }
  }
  for (const auto& [name, tensor] : base.tensors()) {
    if (IsDecoder(name) && !other.tensors().contains(name)) return missing(tensor, other);
  }
  return absl::OkStatus();
}

// What of a tensor is changed, and what of it is as it was (no rows: an undefined tensor).
struct Rows {
  at::Tensor shared;
  at::Tensor further;
};

Rows Split(const at::Tensor& tensor, const at::Tensor& base) {
  if (tensor.sizes() == base.sizes()) return {tensor, {}};
  const std::int64_t rows = base.size(0);
  return {tensor.narrow(0, 0, rows), tensor.narrow(0, rows, tensor.size(0) - rows)};
}

void Compare(const at::Tensor& target, const at::Tensor& base, const at::Tensor& delta,
             DeltaReport* report) {
  const at::Tensor back = delta + base;
  report->inexact += back.ne(target).count_nonzero().item<std::int64_t>();
  if (back.numel() == 0) return;
  const double error = (back.to(at::kDouble) - target.to(at::kDouble)).abs().max().item<double>();
  report->largest_error = std::max(report->largest_error, error);
}

// The tensors of `other`, each with the base's counterpart taken away or added, into a file.
class Combination {
 public:
  Combination(const model::Checkpoint& base, const model::Checkpoint& other, Direction direction)
      : base_(base), other_(other), direction_(direction) {}

  absl::Status Write(const std::string& path) {
    std::vector<model::TensorSpec> specs;
    for (const auto& [name, tensor] : other_.tensors()) {
      specs.push_back({tensor.key, tensor.stored.dtype, tensor.stored.shape});
    }
    ASSIGN_OR_RETURN(model::SafetensorsWriter writer,
                     model::SafetensorsWriter::Create(path, std::move(specs)));
    for (const auto& [name, tensor] : other_.tensors()) {
      ASSIGN_OR_RETURN(at::Tensor result, model::TensorOf(tensor));
      const auto found = base_.tensors().find(name);
      if (found == base_.tensors().end()) {
        ++report_.kept;
      } else {
        ASSIGN_OR_RETURN(result, Combine(name, found->second, result));
      }
      RETURN_IF_ERROR(writer.Append(BytesOf(result.contiguous())));
    }
    return writer.Close();
  }

  const DeltaReport& report() const { return report_; }
  // Of the base's tensors that were used, after Write().
  std::string BaseDigest() { return digest_.Finish().Hex(); }

 private:
  absl::StatusOr<at::Tensor> Combine(const std::string& name, const CheckpointTensor& stored,
                                     const at::Tensor& tensor) {
    ASSIGN_OR_RETURN(const at::Tensor as_stored, model::TensorOf(stored));
    const at::Tensor dense = as_stored.contiguous();
    digest_.Update(absl::StrCat(name, " ", model::DTypeName(stored.stored.dtype), " ",
                                model::ShapeText(stored.stored.shape), "\n"));
    digest_.Update(BytesOf(dense));
    const at::Tensor base = dense.to(tensor.scalar_type());
    const Rows rows = Split(tensor, base);
    ++report_.changed;
    report_.numbers += base.numel();
    at::Tensor result = direction_ == Direction::kMake ? rows.shared - base : rows.shared + base;
    if (direction_ == Direction::kMake) Compare(rows.shared, base, result, &report_);
    if (rows.further.defined()) result = at::cat({result, rows.further});
    return result;
  }

  const model::Checkpoint& base_;
  const model::Checkpoint& other_;
  const Direction direction_;
  Sha256 digest_;
  DeltaReport report_;
};

// The files at the top of the folder that are no weights.
absl::Status CopyOtherFiles(const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(const model::WeightFiles weights, model::FindWeightFiles(from));
  std::set<std::string> left_out = {model::kManifestFile, kDeltaFile, kProjectorFile};
  for (const std::string& path : weights.paths) left_out.insert(fs::path(path).filename());
  if (!weights.index_path.empty()) left_out.insert(fs::path(weights.index_path).filename());
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(from, error)) {
    std::error_code unknown;
    const std::string name = entry.path().filename();
    if (!entry.is_regular_file(unknown) || name.starts_with('.')) continue;
    if (!left_out.contains(name)) names.push_back(name);
  }
  if (error) return absl::ErrnoToStatus(error.value(), from);
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const auto file, model::MappedFile::Open(absl::StrCat(from, "/", name)));
    RETURN_IF_ERROR(WriteFile(absl::StrCat(to, "/", name), file->bytes()));
  }
  return absl::OkStatus();
}

// "" where delta weights say nothing of the base that they were made from.
absl::StatusOr<std::string> StatedBase(const std::string& delta) {
  const std::string path = absl::StrCat(delta, "/", kDeltaFile);
  if (!IsThere(path)) return std::string();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxDeltaFileBytes));
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(text, path));
  JsonReader reader(path, object);
  std::string digest = reader.String("base_sha256", "");
  RETURN_IF_ERROR(reader.status());
  return digest;
}

absl::StatusOr<std::string> WriteManifest(const std::string& base, const std::string& other,
                                          const std::string& folder) {
  model::Manifest manifest;
  const auto version_of = [](const std::string& dir) -> absl::StatusOr<model::CheckpointVersion> {
    auto read = model::ReadManifest(dir);
    if (absl::IsNotFound(read.status())) return model::CheckpointVersion{};
    return read;
  };
  ASSIGN_OR_RETURN(const model::CheckpointVersion base_version, version_of(base));
  ASSIGN_OR_RETURN(const model::CheckpointVersion other_version, version_of(other));
  manifest.parent = base_version.version;
  manifest.name = other_version.manifest.name;
  ASSIGN_OR_RETURN(manifest.files, model::DescribeFiles(folder));
  const std::string text = model::ManifestJson(manifest);
  RETURN_IF_ERROR(WriteFile(absl::StrCat(folder, "/", model::kManifestFile), text));
  return model::VersionOf(text);
}

absl::StatusOr<DeltaReport> Write(const std::string& base_dir, const std::string& other_dir,
                                  Direction direction, const std::string& folder) {
  ASSIGN_OR_RETURN(const model::Checkpoint base, model::Checkpoint::Open(base_dir));
  ASSIGN_OR_RETURN(const model::Checkpoint other, model::Checkpoint::Open(other_dir));
  RETURN_IF_ERROR(CheckNames(base, other));
  ASSIGN_OR_RETURN(const std::string stated,
                   direction == Direction::kApply ? StatedBase(other_dir) : std::string());
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create ", folder));
  Combination combination(base, other, direction);
  RETURN_IF_ERROR(combination.Write(folder + "/model.safetensors"));
  const std::string digest = combination.BaseDigest();
  if (!stated.empty() && stated != digest) {
    return absl::FailedPreconditionError(absl::StrCat(
        base_dir, ": is not what ", other_dir, " was made from: the SHA-256 of its tensors is ",
        digest, ", expected ", stated));
  }
  RETURN_IF_ERROR(CopyOtherFiles(other_dir, folder));
  if (direction == Direction::kMake) {
    const json::object said = {{"base_sha256", digest}};
    RETURN_IF_ERROR(WriteFile(absl::StrCat(folder, "/", kDeltaFile), json::serialize(said) + "\n"));
  }
  DeltaReport report = combination.report();
  ASSIGN_OR_RETURN(report.version, WriteManifest(base_dir, other_dir, folder));
  RETURN_IF_ERROR(SyncFolder(folder));
  return report;
}

absl::StatusOr<DeltaReport> WriteNew(const std::string& base, const std::string& other,
                                     Direction direction, const std::string& folder) {
  const at::NoGradGuard no_grad;
  std::error_code error;
  if (fs::exists(folder, error)) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder, " is there already, expected a new folder"));
  }
  absl::StatusOr<DeltaReport> report = Write(base, other, direction, folder);
  if (!report.ok()) fs::remove_all(folder, error);
  return report;
}

}  // namespace

absl::StatusOr<DeltaReport> MakeDelta(const std::string& base, const std::string& target,
                                      const std::string& folder) {
  return WriteNew(base, target, Direction::kMake, folder);
}

absl::StatusOr<DeltaReport> ApplyDelta(const std::string& base, const std::string& delta,
                                       const std::string& folder) {
  return WriteNew(base, delta, Direction::kApply, folder);
}

}  // namespace llava::training
