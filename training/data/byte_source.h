// A data file as a file descriptor that can be read anywhere: the file itself, or for gzip its
// unpacked bytes in an unlinked temporary file.
#ifndef LLAVA_TRAINING_DATA_BYTE_SOURCE_H_
#define LLAVA_TRAINING_DATA_BYTE_SOURCE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "base/file.h"

namespace llava::training {

// Exactly `size` bytes at `offset`; DATA_LOSS when the file is shorter. Thread-safe.
absl::StatusOr<std::string> ReadAt(const FileDescriptor& file, std::uint64_t offset,
                                   std::uint64_t size);

// Reads `path` once from its beginning to its end: the stored bytes go to `hash`, the unpacked ones
// to `on_bytes` in pieces. Returns a file of the unpacked bytes. `spool_dir` is used for gzip only.
// NOT_FOUND / PERMISSION_DENIED; DATA_LOSS: a gzip stream that is broken or ends early;
// RESOURCE_EXHAUSTED: no room in `spool_dir`; or what `on_bytes` returned.
absl::StatusOr<FileDescriptor> ReadOnce(
    const std::string& path, const std::string& spool_dir, Sha256* hash,
    const std::function<absl::Status(std::string_view)>& on_bytes);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_BYTE_SOURCE_H_
