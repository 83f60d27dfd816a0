#include "training/export/projector_file.h"

#include <ATen/core/Dict.h>
#include <ATen/core/ivalue.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/serialization/pickler.h>

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "model/checkpoint/weight_names.h"
#include "model/tensors/tensor_files.h"

namespace llava::training {
namespace {

using model::NamedTensor;

// No types of TorchScript, which others do not read.
std::string Pickled(const std::vector<NamedTensor>& tensors) {
  c10::Dict<std::string, at::Tensor> dictionary;
  for (const NamedTensor& tensor : tensors) dictionary.insert(tensor.name, tensor.tensor);
  std::string pickled;
  torch::jit::Pickler pickler(
      [&pickled](const char* data, std::size_t size) { pickled.append(data, size); }, nullptr,
      nullptr, nullptr, nullptr, /*tag_aggregates=*/false);
  pickler.protocol();
  pickler.pushIValue(dictionary);
  pickler.stop();
  std::string archive;
  caffe2::serialize::PyTorchStreamWriter writer([&archive](const void* data, std::size_t size) {
    archive.append(static_cast<const char*>(data), size);
    return size;
  });
  std::int64_t number = 0;
  for (const at::Tensor& tensor : pickler.tensorData()) {
    writer.writeRecord(absl::StrCat("data/", number++), tensor.const_data_ptr(), tensor.nbytes());
  }
  writer.writeRecord("data.pkl", pickled.data(), pickled.size());
  writer.writeEndOfFile();
  return archive;
}

}  // namespace

absl::StatusOr<std::string> OriginalProjectorName(const std::string& name, int layers) {
  for (int layer = 1; layer <= layers; ++layer) {
    const std::string prefix = absl::StrCat(model::kProjectorPrefix, "linear_", layer, ".");
    if (!absl::StartsWith(name, prefix)) continue;
    const std::string field = name.substr(prefix.size());
    if (layers == 1) return absl::StrCat("model.mm_projector.", field);
    return absl::StrCat("model.mm_projector.", 2 * (layer - 1), ".", field);
  }
  return absl::UnimplementedError(
      absl::StrCat("\"", name, "\" has no place in a projector of the original code"));
}

absl::Status WriteProjectorFile(const std::string& file, const std::vector<NamedTensor>& tensors) {
  if (absl::EndsWith(file, ".safetensors")) return model::SaveTensors(file, tensors);
  return WriteFile(file, Pickled(tensors));
}

}  // namespace llava::training
