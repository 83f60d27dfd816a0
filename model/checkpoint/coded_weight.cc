#include "model/checkpoint/coded_weight.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::model {
namespace {

constexpr std::int64_t kMostSide = std::int64_t{1} << 24;  // so that no product overflows
constexpr std::string_view kParts[] = {"qweight", "qzeros", "scales", "g_idx"};

absl::Status Wrong(const CheckpointTensor& part, const std::string& found,
                   const std::string& expected) {
  return absl::InvalidArgumentError(absl::StrCat(part.file->path(), ": \"", part.key, "\" has the ",
                                                 found, ", expected ", expected));
}

absl::Status CheckDType(const CheckpointTensor& part, const std::vector<DType>& expected) {
  std::vector<std::string> names;
  for (const DType dtype : expected) {
    if (part.stored.dtype == dtype) return absl::OkStatus();
    names.emplace_back(DTypeName(dtype));
  }
  return Wrong(part, absl::StrCat("dtype ", DTypeName(part.stored.dtype)),
               absl::StrJoin(names, " or "));
}

absl::Status CheckShape(const CheckpointTensor& part, const std::vector<std::int64_t>& expected,
                        const CodedWeight& weight) {
  if (part.stored.shape == expected && part.stored.strides.empty()) return absl::OkStatus();
  return Wrong(
      part,
      absl::StrCat("shape ", ShapeText(part.stored.shape),
                   part.stored.strides.empty() ? "" : ", with gaps"),
      absl::StrCat(ShapeText(expected), " beside \"", weight.qweight.key, "\" ",
                   ShapeText(weight.qweight.stored.shape), " of ", ForeignCodesText(weight.codes)));
}

// Takes out, in and groups from the shape of qweight.
absl::Status ReadSides(CodedWeight& weight) {
  const StoredTensor& stored = weight.qweight.stored;
  const auto is_side = [](std::int64_t side) { return side > 0 && side <= kMostSide; };
  const std::string shape = absl::StrCat("shape ", ShapeText(stored.shape));
  if (stored.shape.size() != 2 || !is_side(stored.shape[0]) || !is_side(stored.shape[1]) ||
      !stored.strides.empty()) {
    return Wrong(weight.qweight, shape,
                 absl::StrCat("a matrix without gaps and with sides of 1 to ", kMostSide));
  }
  const bool awq = weight.codes.method == ForeignCodes::Method::kAwq;
  const std::int64_t a_word = 32 / weight.codes.bits;
  weight.in = stored.shape[0] * (awq ? 1 : a_word);
  weight.out = stored.shape[1] * (awq ? a_word : 1);
  const std::int64_t group = weight.codes.group == 0 ? weight.in : weight.codes.group;
  weight.groups = (weight.in + group - 1) / group;
  if (weight.out % a_word != 0) {
    return Wrong(weight.qweight, shape, absl::StrCat("a multiple of ", a_word, " outputs"));
  }
  if (awq && weight.in % group != 0) {
    return Wrong(weight.qweight, shape, absl::StrCat("a multiple of ", group, " inputs"));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<CodePart> CodePartOf(std::string_view key) {
  const std::size_t dot = key.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const CodePart part = {.module = key.substr(0, dot), .name = key.substr(dot + 1)};
  for (const std::string_view name : kParts) {
    if (part.name == name) return part;
  }
  return std::nullopt;
}

absl::StatusOr<CodedWeight> JoinCodeParts(const std::map<std::string, CheckpointTensor>& parts,
                                          const ForeignCodes& codes) {
  const bool awq = codes.method == ForeignCodes::Method::kAwq;
  for (const std::string_view name : kParts) {
    const bool needed = name != "g_idx" || codes.any_order;
    if (!needed || parts.contains(std::string(name))) continue;
    const CheckpointTensor& other = parts.begin()->second;
    return absl::NotFoundError(absl::StrCat(other.file->path(), ": holds \"", other.key,
                                            "\" without the ", AbslView(name), " beside it, which ",
                                            ForeignCodesText(codes), " has"));
  }
  CodedWeight weight{.codes = codes,
                     .qweight = parts.at("qweight"),
                     .qzeros = parts.at("qzeros"),
                     .scales = parts.at("scales"),
                     .g_idx = std::nullopt};
  RETURN_IF_ERROR(CheckDType(weight.qweight, {DType::kInt32}));
  RETURN_IF_ERROR(CheckDType(weight.qzeros, {DType::kInt32}));
  RETURN_IF_ERROR(CheckDType(weight.scales, {DType::kFloat16, DType::kBfloat16, DType::kFloat32}));
  RETURN_IF_ERROR(ReadSides(weight));
  RETURN_IF_ERROR(CheckShape(weight.qzeros, {weight.groups, weight.out * codes.bits / 32}, weight));
  RETURN_IF_ERROR(CheckShape(weight.scales, {weight.groups, weight.out}, weight));
  const auto g_idx = parts.find("g_idx");
  if (g_idx == parts.end()) return weight;
  if (awq) {
    return absl::InvalidArgumentError(absl::StrCat(g_idx->second.file->path(), ": \"",
                                                   g_idx->second.key,
                                                   "\" is an extra tensor: AWQ has none"));
  }
  weight.g_idx = g_idx->second;
  RETURN_IF_ERROR(CheckDType(*weight.g_idx, {DType::kInt32}));
  RETURN_IF_ERROR(CheckShape(*weight.g_idx, {weight.in}, weight));
  return weight;
}

std::uint64_t StoredBytes(const CheckpointTensor& tensor) {
  if (tensor.coded == nullptr) return tensor.stored.bytes.size();
  const CodedWeight& coded = *tensor.coded;
  return coded.qweight.stored.bytes.size() + coded.qzeros.stored.bytes.size() +
         coded.scales.stored.bytes.size() + (coded.g_idx ? coded.g_idx->stored.bytes.size() : 0);
}

}  // namespace llava::model
