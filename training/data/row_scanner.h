// Finds where the rows of a JSON array or of JSONL begin and end, byte by byte, without parsing
// them: the first pass over a file that is larger than memory.
#ifndef LLAVA_TRAINING_DATA_ROW_SCANNER_H_
#define LLAVA_TRAINING_DATA_ROW_SCANNER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace llava::training {

struct RowPlace {
  std::uint64_t offset = 0;  // of the first byte
  std::uint64_t size = 0;
  std::int64_t line = 0;    // counted from 1
  std::int64_t column = 0;  // of the first byte in its line, counted from 1
};

// Not thread-safe. Feed() the file in pieces of any size, then Finish().
class RowScanner {
 public:
  // The row's bytes are handed out too when there are at most kMaxRowBytes of them, else "" comes.
  using OnRow = std::function<absl::Status(const RowPlace& place, std::string_view bytes)>;

  explicit RowScanner(OnRow on_row) : on_row_(std::move(on_row)) {}

  // INVALID_ARGUMENT names line and column: neither an array nor an object at the start, something
  // between rows that is not a comma, something behind the end. Or what `on_row` returned.
  absl::Status Feed(std::string_view bytes);

  // INVALID_ARGUMENT when the array or its last row is not closed.
  absl::Status Finish();

 private:
  enum class State { kStart, kBetween, kRow, kEnd };

  absl::Status Step(char c);
  absl::Status StepOutside(char c);
  absl::Status BeginRow(char c);
  absl::Status EndRow();
  bool EndsRowInside(char c);
  absl::Status Error(std::string_view why) const;
  std::int64_t Column() const { return static_cast<std::int64_t>(offset_ - line_start_) + 1; }

  OnRow on_row_;
  State state_ = State::kStart;
  bool array_ = false;
  bool in_string_ = false;
  bool escaped_ = false;
  bool after_row_ = false;  // in an array: a comma or the end must come next
  int depth_ = 0;
  std::uint64_t offset_ = 0;
  std::int64_t line_ = 1;
  std::uint64_t line_start_ = 0;  // offset of the line's first byte
  RowPlace place_;
  std::string row_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_ROW_SCANNER_H_
