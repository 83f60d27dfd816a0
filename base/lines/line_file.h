// Files of lines that are read a line at a time, and files of lines that grow. Memory holds one
// line. Not thread-safe. Errors carry errno's code and name the path.
#ifndef LLAVA_BASE_LINES_LINE_FILE_H_
#define LLAVA_BASE_LINES_LINE_FILE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/file.h"

namespace llava {

struct Line {
  std::string text = {};    // without its end
  std::int64_t number = 0;  // from 1
  std::int64_t offset = 0;  // of its first byte
  std::int64_t bytes = 0;   // with its end
  bool has_end = false;     // false: the last one, without a line end
};

class LineReader {
 public:
  static absl::StatusOr<LineReader> Open(const std::string& path);

  // Nothing at the end of the file.
  absl::StatusOr<std::optional<Line>> Next();

 private:
  LineReader(std::string path, FileDescriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  FileDescriptor file_;
  std::string buffer_;       // read, and not handed out
  std::size_t begin_ = 0;    // of what is left in it
  std::int64_t offset_ = 0;  // in the file, of what is left
  std::int64_t number_ = 0;
  bool at_end_ = false;
};

// The bytes of an open file from `offset` on, at most `most`; fewer at its end. `path`: for errors.
absl::StatusOr<std::string> ReadBytes(const FileDescriptor& file, const std::string& path,
                                      std::int64_t offset, std::int64_t most);

// One LineAppender at a time has a file open, in this process or another.
class LineAppender {
 public:
  // Makes the file where there is none. `keep` is asked about each line that is there; from the
  // first one on that it does not want, or that has no end, the file is cut off: a machine that
  // lost its power leaves such lines behind. UNAVAILABLE: the file is open elsewhere.
  static absl::StatusOr<LineAppender> Open(const std::string& path,
                                           const std::function<bool(absl::string_view)>& keep);

  // Reads them into `lines`, without their ends. RESOURCE_EXHAUSTED above `max_bytes`.
  static absl::StatusOr<LineAppender> Open(const std::string& path, std::int64_t max_bytes,
                                           std::vector<std::string>* lines);

  // The same where the caller knows that the first `size` bytes are whole lines that it wants.
  static absl::StatusOr<LineAppender> OpenAt(const std::string& path, std::int64_t size);

  // Killed from here on, the process leaves the line behind. On an error nothing of it stays.
  // REQUIRES: no line end in `line`.
  absl::Status Append(absl::string_view line);

  // A machine that loses its power leaves the lines behind.
  absl::Status Sync();

  // Both, for one line: where it is not on the disk, nothing of it stays.
  absl::Status AppendDurably(absl::string_view line);

  std::int64_t size() const { return size_; }

 private:
  LineAppender(std::string path, FileDescriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}

  static absl::StatusOr<LineAppender> Lock(const std::string& path);
  absl::Status CutAt(std::int64_t size);

  std::string path_;
  FileDescriptor file_;
  std::int64_t size_ = 0;
  bool dirty_ = false;
};

}  // namespace llava

#endif  // LLAVA_BASE_LINES_LINE_FILE_H_
