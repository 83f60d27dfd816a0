#include "tests/support/checkpoint_fixture.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/durable_file.h"
#include "model/checkpoint/safetensors_writer.h"
#include "model/checkpoint/tensor_file.h"

namespace llava::model {

namespace fs = std::filesystem;

std::string GoldenCheckpointDir() { return "tests/golden/data/checkpoint"; }

FixtureTensors GoldenTensors() {
  const auto file = OpenTensorFile(absl::StrCat(GoldenCheckpointDir(), "/model.safetensors"));
  LLAVA_CHECK(file.ok());
  FixtureTensors tensors;
  for (const auto& [name, stored] : file->tensors) {
    tensors[name] = {
        .dtype = stored.dtype, .shape = stored.shape, .bytes = std::string(stored.bytes)};
  }
  return tensors;
}

FixtureTensors Renamed(const FixtureTensors& tensors,
                       const std::function<std::string(const std::string&)>& name_of) {
  FixtureTensors renamed;
  for (const auto& [name, tensor] : tensors) {
    const std::string other = name_of(name);
    if (!other.empty()) renamed[other] = tensor;
  }
  return renamed;
}

FixtureTensors WithPrefix(const FixtureTensors& tensors, std::string_view prefix) {
  return Renamed(tensors,
                 [&](const std::string& name) { return name.starts_with(prefix) ? name : ""; });
}

void WriteTensors(const std::string& path, const FixtureTensors& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) {
    specs.push_back({.name = name, .dtype = tensor.dtype, .shape = tensor.shape});
  }
  auto writer = SafetensorsWriter::Create(path, specs);
  LLAVA_CHECK(writer.ok());
  for (const auto& [name, tensor] : tensors) LLAVA_CHECK(writer->Append(tensor.bytes).ok());
  LLAVA_CHECK(writer->Close().ok());
}

void CopyGoldenFiles(const std::string& directory) {
  fs::create_directories(directory);
  for (const auto& entry : fs::directory_iterator(GoldenCheckpointDir())) {
    if (entry.path().extension() == ".safetensors") continue;
    fs::copy_file(entry.path(), fs::path(directory) / entry.path().filename());
  }
}

void WriteCheckpoint(const std::string& directory, const FixtureTensors& tensors) {
  CopyGoldenFiles(directory);
  WriteTensors(absl::StrCat(directory, "/model.safetensors"), tensors);
}

void EditFile(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = ReadBytes(path);
  const std::size_t at = text.find(from);
  LLAVA_CHECK(at != std::string::npos);
  WriteBytes(path, text.replace(at, from.size(), to));
}

std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  LLAVA_CHECK(file.good());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteBytes(const std::string& path, std::string_view bytes) {
  LLAVA_CHECK(WriteFile(path, bytes).ok());
}

}  // namespace llava::model
