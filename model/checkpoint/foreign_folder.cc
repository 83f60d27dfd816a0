#include "model/checkpoint/foreign_folder.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "model/checkpoint/weight_files.h"

namespace llava::model {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kGguf = "GGUF";
constexpr std::string_view kLfsPointer = "version https://git-lfs.github.com/spec/v1";
constexpr const char* kAdapterConfig = "adapter_config.json";
constexpr const char* kConfig = "config.json";
struct Foreign {
  std::string_view ending;
  const char* whose;
};
// Weights by the ends of their files' names.
constexpr Foreign kForeign[] = {
    {".h5", "TensorFlow"},
    {".msgpack", "Flax"},
    {".onnx", "ONNX"},
    {"openvino_model.xml", "OpenVINO"},
    {".tflite", "TensorFlow Lite"},
    {".npz", "MLX"},
    {".pth", "its authors' own code"},
};
constexpr std::size_t kMaxEntries = 10'000;
constexpr std::size_t kMaxNamed = 5;

// The first bytes of a regular file; empty where there are none.
std::string BeginningOf(const fs::path& path) {
  const auto file = OpenRegularFile(path.string());
  if (!file.ok()) return "";
  std::string bytes(kLfsPointer.size(), '\0');
  const ssize_t got = read(file->get(), bytes.data(), bytes.size());
  bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return bytes;
}

// The names of what is in `folder` and is `wanted`, sorted, at most kMaxNamed.
std::vector<std::string> EntriesOf(const fs::path& folder,
                                   const std::function<bool(const fs::path&)>& wanted) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator at(folder, error);
  for (std::size_t seen = 0; !error && at != fs::directory_iterator() && seen < kMaxEntries;
       at.increment(error), ++seen) {
    if (wanted(at->path())) names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  if (names.size() > kMaxNamed) {
    names.resize(kMaxNamed);
    names.emplace_back("...");
  }
  return names;
}

std::vector<std::string> FilesThatBegin(const fs::path& folder, std::string_view signature) {
  return EntriesOf(folder, [signature](const fs::path& path) {
    return BeginningOf(path).starts_with(signature);
  });
}

// A folder without weights that are read here may have them for another program.
std::string DescribeForeignWeights(const fs::path& folder) {
  for (const Foreign& foreign : kForeign) {
    for (const fs::path& place : {folder, folder / "onnx"}) {  // where transformers.js has them
      const auto names = EntriesOf(place, [&foreign](const fs::path& path) {
        return path.filename().string().ends_with(foreign.ending);
      });
      if (names.empty()) continue;
      return absl::StrCat(place.string(), ": has weights for ", foreign.whose, " (",
                          absl::StrJoin(names, ", "),
                          "), expected safetensors or PyTorch's, as save_pretrained of "
                          "transformers writes them");
    }
  }
  return "";
}

// A folder without a configuration may be the one around the checkpoint.
std::string DescribeFolderAround(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / kConfig, error)) return "";
  const auto names = EntriesOf(folder, [&error](const fs::path& path) {
    return fs::is_regular_file(path / kConfig, error);
  });
  if (names.empty()) return "";
  return absl::StrCat(folder.string(), ": has no ", kConfig, ", folders in it have one (",
                      absl::StrJoin(names, ", "), "): name the one that is meant");
}

std::string DescribeGguf(const std::string& what) {
  return absl::StrCat(what,
                      " in the format GGUF, which llama.cpp reads; expected a folder in Hugging "
                      "Face's format (config.json, safetensors, tokenizer)");
}

// An adapter says so by its configuration; with weights beside it, the folder is a checkpoint too.
std::string DescribeAdapter(const fs::path& folder) {
  const std::string path = (folder / kAdapterConfig).string();
  const auto object = ReadJsonObject(path);
  if (absl::IsNotFound(object.status()) || FindWeightFiles(folder.string()).ok()) return "";
  std::string base = "a base model that it does not name";
  std::string kind = "adapter";
  if (object.ok()) {
    JsonReader reader(path, *object);
    const std::string named = reader.String("base_model_name_or_path", "");
    if (!named.empty()) base = absl::StrCat("\"", named, "\"");
    kind = absl::StrCat(reader.String("peft_type", ""), " adapter");
  }
  return absl::StrCat(
      folder.string(), ": is a ", kind, " for ", base,
      ", not a whole checkpoint: serve it beside that model, or merge it into it first");
}

}  // namespace

std::vector<std::string> DescribeForeignFolder(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    return {absl::StrCat(path, ": expected the folder of a checkpoint, found nothing there")};
  }
  if (status.type() != fs::file_type::directory) {
    const bool gguf = BeginningOf(path).starts_with(kGguf);
    if (gguf) return {DescribeGguf(absl::StrCat(path, ": is a file"))};
    return {absl::StrCat(path, ": expected the folder of a checkpoint, found something else")};
  }
  std::vector<std::string> found;
  const std::vector<std::string> pointers = FilesThatBegin(path, kLfsPointer);
  if (!pointers.empty()) {
    found.push_back(absl::StrCat(path, ": has pointers of Git LFS in place of files (",
                                 absl::StrJoin(pointers, ", "),
                                 "): fetch the files with `git lfs pull`"));
  }
  if (!FindWeightFiles(path).ok()) {
    const std::vector<std::string> gguf = FilesThatBegin(path, kGguf);
    if (!gguf.empty()) {
      found.push_back(
          DescribeGguf(absl::StrCat(path, ": is a model (", absl::StrJoin(gguf, ", "), ")")));
    }
    found.push_back(DescribeForeignWeights(path));
  }
  found.push_back(DescribeFolderAround(path));
  found.push_back(DescribeAdapter(path));
  std::erase(found, "");
  return found;
}

}  // namespace llava::model
