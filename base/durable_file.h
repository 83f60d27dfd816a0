// Files that are on the disk when the call that wrote them returns: fsync of the file and of the
// folder that names it. Errors carry errno's code and name the path. Any thread.
#ifndef LLAVA_BASE_DURABLE_FILE_H_
#define LLAVA_BASE_DURABLE_FILE_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file.h"

namespace llava {

// A file that is written from its start to its end. Not thread-safe.
class OutputFile {
 public:
  // Replaces what is at `path`.
  static absl::StatusOr<OutputFile> Create(const std::string& path);

  absl::Status Write(std::string_view bytes);

  // Its bytes and its name are on the disk. REQUIRES: not closed before.
  absl::Status Close();

 private:
  OutputFile(std::string path, FileDescriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  FileDescriptor file_;
};

// Creates or replaces a whole file.
absl::Status WriteFile(const std::string& path, std::string_view bytes);

// Renames within one folder.
absl::Status RenameFile(const std::string& from, const std::string& to);

// The names in a folder are on the disk.
absl::Status SyncFolder(const std::string& folder);

// The name of this file is on the disk.
absl::Status SyncName(const std::string& path);

}  // namespace llava

#endif  // LLAVA_BASE_DURABLE_FILE_H_
