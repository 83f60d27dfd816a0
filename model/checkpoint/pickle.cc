#include "model/checkpoint/pickle.h"

#include <map>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/byte_reader.h"
#include "base/status_macros.h"
#include "model/checkpoint/unpickler.h"
#include "model/checkpoint/zip_archive.h"

namespace llava::model {
namespace {

using Kind = PickleObject::Kind;
using Storages = std::map<std::string, std::string_view, std::less<>>;  // key -> bytes

// Of files without an archive (before PyTorch 1.6): 0x1950a86a20f9469cfc6c, little-endian.
constexpr std::string_view kOldMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);

constexpr char kMain[] = "/data.pkl";

// The last element of `tensor` within its storage plus one; nothing when that overflows.
std::optional<std::int64_t> ElementsReached(const PickleObject& tensor) {
  if (tensor.number < 0) return std::nullopt;
  std::int64_t last = tensor.number;
  bool empty = false;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    std::int64_t step = 0;
    if (tensor.shape[i] < 0 || tensor.strides[i] < 0) return std::nullopt;
    if (tensor.shape[i] == 0) {
      empty = true;
      continue;
    }
    if (__builtin_mul_overflow(tensor.shape[i] - 1, tensor.strides[i], &step) ||
        __builtin_add_overflow(last, step, &last)) {
      return std::nullopt;
    }
  }
  std::int64_t reached = 0;
  if (empty) return tensor.number;
  return __builtin_add_overflow(last, 1, &reached) ? std::nullopt : std::optional(reached);
}

bool IsDense(const PickleObject& tensor) {
  std::int64_t expected = 1;
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    if (__builtin_mul_overflow(expected, tensor.shape[i], &expected)) return false;
  }
  return true;
}

absl::StatusOr<StoredTensor> Resolve(const Pickle& pickle, const PickleObject& tensor,
                                     const Storages& storages) {
  const PickleObject& storage = pickle.objects[tensor.storage];
  const auto at = storages.find(storage.text);
  if (at == storages.end()) {
    return absl::DataLossError(absl::StrCat("the storage \"", storage.text, "\" is not there"));
  }
  const auto size = static_cast<std::int64_t>(ElementSize(storage.dtype));
  const auto available = static_cast<std::int64_t>(at->second.size()) / size;
  const auto reached = ElementsReached(tensor);
  if (!CheckedByteSize(tensor.shape, ElementSize(storage.dtype)).has_value() ||
      !reached.has_value() || *reached > available) {
    return absl::InvalidArgumentError(absl::StrCat(
        "shape ", ShapeText(tensor.shape), " with strides ", ShapeText(tensor.strides), " from ",
        tensor.number, " on reaches beyond its storage of ", available, " elements"));
  }
  return StoredTensor{
      .dtype = storage.dtype,
      .shape = tensor.shape,
      .strides = IsDense(tensor) ? std::vector<std::int64_t>() : tensor.strides,
      .bytes = at->second.substr(static_cast<std::size_t>(tensor.number * size),
                                 static_cast<std::size_t>((*reached - tensor.number) * size))};
}

// The dictionary that the pickle stands for.
absl::StatusOr<TensorMap> Tensors(const Pickle& pickle, const Storages& storages) {
  const PickleObject& dict = pickle.objects[pickle.result];
  if (dict.kind != Kind::kDict) {
    return absl::InvalidArgumentError("the file holds no dictionary of tensors");
  }
  TensorMap tensors;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleObject& key = pickle.objects[dict.items[i]];
    const PickleObject& value = pickle.objects[dict.items[i + 1]];
    if (key.kind != Kind::kString || value.kind != Kind::kTensor) {
      return absl::InvalidArgumentError(
          absl::StrCat("the entry \"", key.text, "\" of the dictionary is no tensor"));
    }
    absl::StatusOr<StoredTensor> tensor = Resolve(pickle, value, storages);
    if (!tensor.ok()) {
      return Annotate(tensor.status(), absl::StrCat("tensor \"", key.text, "\""));
    }
    tensors.insert_or_assign(key.text, *std::move(tensor));  // as a Python dictionary does
  }
  return tensors;
}

absl::StatusOr<TensorMap> ParseArchive(std::string_view file) {
  ASSIGN_OR_RETURN(const auto records, ReadZip(file));
  std::string prefix;
  std::string_view main;
  for (const auto& [name, bytes] : records) {
    if (!absl::EndsWith(name, kMain)) continue;
    prefix = name.substr(0, name.size() + 1 - sizeof(kMain));
    main = bytes;
  }
  if (main.empty()) return absl::InvalidArgumentError("the archive has no record data.pkl");
  const auto order = records.find(prefix + "/byteorder");
  if (order != records.end() && order->second != "little") {
    return absl::UnimplementedError("the tensors are big-endian, expected little-endian");
  }
  const std::string data = prefix + "/data/";
  Storages storages;
  for (const auto& [name, bytes] : records) {
    if (absl::StartsWith(name, data)) storages.emplace(name.substr(data.size()), bytes);
  }
  ASSIGN_OR_RETURN(const Pickle pickle, Unpickle(main));
  return Tensors(pickle, storages);
}

// A chain of pickles: magic number, protocol, system, the object, the keys of its storages; then
// each storage as its number of elements and its bytes.
absl::StatusOr<TensorMap> ParseOld(std::string_view file) {
  std::size_t at = 0;
  Pickle object;
  Pickle keys;
  for (int i = 0; i < 5; ++i) {
    ASSIGN_OR_RETURN(Pickle pickle, Unpickle(file.substr(at)));
    at += pickle.size;
    if (i >= 3) (i == 3 ? object : keys) = std::move(pickle);
  }
  std::map<std::string, DType> types;
  for (const PickleObject& item : object.objects) {
    if (item.kind == Kind::kStorage) types.emplace(item.text, item.dtype);
  }
  Storages storages;
  ByteReader reader(file.substr(at));
  for (const std::size_t item : keys.objects[keys.result].items) {
    const std::string& key = keys.objects[item].text;
    const auto type = types.find(key);
    const auto elements = reader.U64();
    if (type == types.end() || elements > reader.remaining()) {
      return absl::DataLossError(absl::StrCat("the storage \"", key, "\" is damaged or truncated"));
    }
    storages.emplace(key, reader.Take(elements * ElementSize(type->second)));
    if (!reader.ok()) {
      return absl::DataLossError(absl::StrCat("the storage \"", key, "\" is truncated"));
    }
  }
  return Tensors(object, storages);
}

}  // namespace

absl::StatusOr<TensorMap> ParseTorchSave(std::string_view file) {
  if (LooksLikeZip(file)) return ParseArchive(file);
  if (file.substr(0, 64).find(kOldMagic) != std::string_view::npos) return ParseOld(file);
  return absl::InvalidArgumentError("not a file that torch.save wrote");
}

}  // namespace llava::model
