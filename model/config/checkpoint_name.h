// What a checkpoint is called where nobody gave it a name.
#ifndef LLAVA_MODEL_CONFIG_CHECKPOINT_NAME_H_
#define LLAVA_MODEL_CONFIG_CHECKPOINT_NAME_H_

#include <string>
#include <string_view>

namespace llava::model {

// The first of these that there is, never empty:
//   "name" of DIR/manifest.json or DIR/config.json;
//   NAME of Hugging Face's cache, .../models--ORG--NAME/snapshots/COMMIT;
//   the last component of _name_or_path in config.json, where the folder is named by a commit;
//   the folder's own name.
// A repository's folder of the cache is looked at as the snapshot that it stands for. As
// FittingName has it. Files that cannot be read say nothing here: their readers complain. Reads
// files: not for an RPC thread.
std::string CheckpointName(const std::string& dir);

// `name` as clients can ask for it: valid UTF-8 of at most 128 bytes, with '-' in the place of '@',
// which is for versions, and of control characters.
std::string FittingName(std::string_view name);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_CHECKPOINT_NAME_H_
