// File operations that are on the disk when they return (fsync of the file and of its folder).
#ifndef LLAVA_TRAINING_RUN_DURABLE_FILES_H_
#define LLAVA_TRAINING_RUN_DURABLE_FILES_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava::training {

// Creates or overwrites `path` with the parts one after another. Errors carry errno's code and name
// the path.
absl::Status WriteDurably(const std::string& path, const std::vector<std::string_view>& parts);

// Renames within one folder and makes the rename durable.
absl::Status RenameDurably(const std::string& from, const std::string& to);

absl::StatusOr<std::string> ReadWholeFile(const std::string& path);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_DURABLE_FILES_H_
