// Files of lines that are read a line at a time, and files of lines that grow: what a batch asks
// and what it has been answered. Memory holds one line. Not thread-safe.
#ifndef LLAVA_SERVER_BATCHES_LINE_FILE_H_
#define LLAVA_SERVER_BATCHES_LINE_FILE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/file.h"

namespace llava::batches {

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

class LineAppender {
 public:
  // Makes the file where there is none. `keep` is asked about each line that is there; from the
  // first one on that it does not want, or that has no end, the file is cut off: a machine that
  // lost its power leaves such lines behind.
  static absl::StatusOr<LineAppender> Open(const std::string& path,
                                           const std::function<bool(absl::string_view)>& keep);

  // Killed from here on, the process leaves the line behind. On an error nothing of it stays.
  // REQUIRES: no line end in `line`.
  absl::Status Append(absl::string_view line);

  // A machine that loses its power leaves the lines behind.
  absl::Status Sync();

  std::int64_t size() const { return size_; }

 private:
  LineAppender(std::string path, FileDescriptor file, std::int64_t size)
      : path_(std::move(path)), file_(std::move(file)), size_(size) {}

  std::string path_;
  FileDescriptor file_;
  std::int64_t size_;
  bool dirty_ = false;
};

}  // namespace llava::batches

#endif  // LLAVA_SERVER_BATCHES_LINE_FILE_H_
