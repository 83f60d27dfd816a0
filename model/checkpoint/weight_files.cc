#include "model/checkpoint/weight_files.h"

#include <boost/json.hpp>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"

namespace llava::model {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr const char* kSingleFiles[] = {"model.safetensors", "pytorch_model.bin"};

// A shard is a plain file name: an index must not lead out of its directory.
bool IsFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
}

absl::StatusOr<WeightFiles> ReadIndex(const std::string& directory, const std::string& path) {
  ASSIGN_OR_RETURN(const json::object index, ReadJsonObject(path));
  const json::value* map = index.if_contains("weight_map");
  if (map == nullptr || !map->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": weight_map is missing or not an object"));
  }
  WeightFiles files{.paths = {}, .index_path = path, .keys = {}};
  std::set<std::string> shards;
  for (const auto& [key, shard] : map->get_object()) {
    const std::string name(key.data(), key.size());
    if (!shard.is_string() || !IsFileName(std::string(shard.get_string()))) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": weight_map[\"", name, "\"] is ",
                                                     json::serialize(shard),
                                                     ", expected the name of a file beside it"));
    }
    const std::string full = (fs::path(directory) / std::string(shard.get_string())).string();
    if (shards.insert(full).second && !IsThere(full)) {
      return absl::NotFoundError(
          absl::StrCat(path, ": names the shard ", full, " (for \"", name, "\"), which is absent"));
    }
    files.keys.emplace(name, full);
  }
  files.paths.assign(shards.begin(), shards.end());
  return files;
}

}  // namespace

absl::StatusOr<WeightFiles> FindWeightFiles(const std::string& directory) {
  for (const char* name : kSingleFiles) {
    const std::string path = (fs::path(directory) / name).string();
    if (IsThere(path)) return WeightFiles{.paths = {path}, .index_path = "", .keys = {}};
    const std::string index = absl::StrCat(path, ".index.json");
    if (IsThere(index)) return ReadIndex(directory, index);
  }
  return absl::NotFoundError(
      absl::StrCat(directory,
                   ": no weights: expected model.safetensors, model.safetensors.index.json, "
                   "pytorch_model.bin or pytorch_model.bin.index.json"));
}

}  // namespace llava::model
