// Reads regular files. Paths come from people and from folders that others write to, so whatever
// else stands there (a folder, a pipe, a device, a link in a circle) is an error and never waited
// for. Any thread.
#ifndef LLAVA_BASE_FILE_H_
#define LLAVA_BASE_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "base/file_descriptor.h"

namespace llava {

// Opened once, for reading. NOT_FOUND when there is no such file, INVALID_ARGUMENT when it is not a
// regular one, else errno's code; the message begins with the path.
absl::StatusOr<FileDescriptor> OpenRegularFile(const std::string& path);

// Whether something stands at `path`. True also where that cannot be told or is no regular file (a
// link in a circle, a folder that may not be read): who opens it then says why.
bool IsThere(const std::string& path);

// All its bytes. The errors of OpenRegularFile, and RESOURCE_EXHAUSTED above `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t max_bytes);

}  // namespace llava

#endif  // LLAVA_BASE_FILE_H_
