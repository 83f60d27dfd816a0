// Files of JSON lines.
#ifndef LLAVA_TRAINING_DATA_JSON_LINES_H_
#define LLAVA_TRAINING_DATA_JSON_LINES_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/json/object.hpp"

namespace llava::training {

// The object of each line that is not blank. kInvalidArgument names file and line; also the errors
// of ReadFile (base/file.h).
absl::StatusOr<std::vector<boost::json::object>> ReadJsonLines(const std::string& path,
                                                               std::size_t max_bytes);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_JSON_LINES_H_
