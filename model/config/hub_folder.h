// Folders of repositories in Hugging Face's cache: models--ORG--NAME has each revision that was
// fetched as snapshots/COMMIT, and in refs/main the commit that the repository stands at.
#ifndef LLAVA_MODEL_CONFIG_HUB_FOLDER_H_
#define LLAVA_MODEL_CONFIG_HUB_FOLDER_H_

#include <string>

#include "absl/status/statusor.h"

namespace llava::model {

// The snapshot that the repository's folder `dir` stands for: that of refs/main, or the only one.
// Any other path, one where nothing is included, is `dir` itself. FAILED_PRECONDITION says which
// snapshots there are where that does not say which is meant, or that the one of refs/main is not
// there. Reads files: not for an RPC thread.
absl::StatusOr<std::string> SnapshotOf(const std::string& dir);

// The same in place, for options of a command line; what is wrong, or nothing.
std::string TakeSnapshot(std::string& dir);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_HUB_FOLDER_H_
