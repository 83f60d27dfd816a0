// Which weight files a checkpoint directory has: one file, or the shards that an index names.
#ifndef LLAVA_MODEL_CHECKPOINT_WEIGHT_FILES_H_
#define LLAVA_MODEL_CHECKPOINT_WEIGHT_FILES_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::model {

struct WeightFiles {
  std::vector<std::string> paths;           // full paths, sorted
  std::string index_path;                   // empty: a single file
  std::map<std::string, std::string> keys;  // key -> full path, when there is an index
};

// Looks for model.safetensors, model.safetensors.index.json, pytorch_model.bin and
// pytorch_model.bin.index.json, in this order. NOT_FOUND when there is none or a shard that the
// index names is absent; INVALID_ARGUMENT for a malformed index.
absl::StatusOr<WeightFiles> FindWeightFiles(const std::string& directory);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_WEIGHT_FILES_H_
