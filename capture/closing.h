// What a shard was closed with: the lines, bytes and digest of its rows, in closed.json beside
// them, so that rows that were lost later are noticed, also where whole lines are missing. Shards
// of earlier versions have no such file.
#ifndef LLAVA_CAPTURE_CLOSING_H_
#define LLAVA_CAPTURE_CLOSING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace llava::capture {

struct RowsState {
  std::int64_t lines = 0;
  std::int64_t bytes = 0;   // with the lines' ends
  std::string sha256 = {};  // 64 hexadecimal digits

  bool operator==(const RowsState&) const = default;
};

// Of lines as they are written or read. Not thread-safe.
class RowsSum {
 public:
  // `line`: without its end.
  void Take(absl::string_view line);

  // Nothing may be taken afterwards.
  RowsState Finish();

 private:
  RowsState state_;
  Sha256 sha_;
};

std::string ClosingFile(const std::string& folder);

// Replaces the record at once, on the disk. While rows are rewritten both of their states are in
// it. Returns the bytes it has. Errors carry errno's code and the path.
absl::StatusOr<std::int64_t> WriteClosing(const std::vector<RowsState>& states,
                                          const std::string& folder);

// None where there is no record. INVALID_ARGUMENT: it is damaged; else the errors of ReadFile
// (base/file.h).
absl::StatusOr<std::vector<RowsState>> ReadClosing(const std::string& folder);

// Whether the rows may be `found`: as they were closed, or there is no record.
bool MayBe(const RowsState& found, const std::vector<RowsState>& closed);

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_CLOSING_H_
