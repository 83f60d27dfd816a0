// Names of many files in one: "train-{000000..000009}.tar", as WebDataset has it.
#ifndef LLAVA_TRAINING_DATA_TAR_SHARD_NAMES_H_
#define LLAVA_TRAINING_DATA_TAR_SHARD_NAMES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::training {

// The files that `name` stands for, in order: itself, or where it has one range in braces one for
// each number of it, both ends included, with as many digits as the first end has. INVALID_ARGUMENT
// names what is wrong: two ranges, a last number below the first, more than 100,000 files. Braces
// around anything else are a part of a name.
absl::StatusOr<std::vector<std::string>> ShardNames(const std::string& name);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_TAR_SHARD_NAMES_H_
