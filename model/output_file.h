// A file that is written from its start to its end and is on the disk when Close returns.
#ifndef LLAVA_MODEL_OUTPUT_FILE_H_
#define LLAVA_MODEL_OUTPUT_FILE_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava::model {

// Not thread-safe. Errors are those of the operating system and name the path.
class OutputFile {
 public:
  // Replaces what is at `path`.
  static absl::StatusOr<OutputFile> Create(const std::string& path);

  OutputFile(OutputFile&& other) noexcept
      : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  absl::Status Write(std::string_view bytes);

  // fsync and close. REQUIRES: not closed before.
  absl::Status Close();

 private:
  OutputFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
};

// All of it at once.
absl::Status WriteFile(const std::string& path, std::string_view bytes);

}  // namespace llava::model

#endif  // LLAVA_MODEL_OUTPUT_FILE_H_
