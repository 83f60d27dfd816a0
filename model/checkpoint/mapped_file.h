// A file in memory, mapped copy-on-write: reading costs no copy, and writing into the mapping (a
// training step on weights that lie in it) changes only this process's memory, never the file.
// Whoever looks at bytes() dies of SIGBUS when the file was shortened meanwhile; who must not,
// reads them with Read.
#ifndef LLAVA_MODEL_CHECKPOINT_MAPPED_FILE_H_
#define LLAVA_MODEL_CHECKPOINT_MAPPED_FILE_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava::model {

// Immutable after Open, hence thread-safe. Shared: tensors of the mapping keep it alive.
class MappedFile {
 public:
  // NOT_FOUND, or the code of what the operating system said; the message names the path.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return {data_, size_}; }

  // Copies `part` of bytes() from the file to `to`, past the mapping. DATA_LOSS when the file has
  // become shorter; else what the operating system says. Names the path.
  absl::Status Read(std::string_view part, void* to) const;

 private:
  MappedFile(std::string path, int descriptor, char* data, std::size_t size)
      : path_(std::move(path)), descriptor_(descriptor), data_(data), size_(size) {}

  const std::string path_;
  const int descriptor_;
  char* const data_;  // null for an empty file
  const std::size_t size_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_MAPPED_FILE_H_
