// What people said of the answers in a shard, in a file beside its rows: thumbs, corrections, and
// which rows were asked to be forgotten. A line a verdict, in the order in which they came: the
// last one of a row is its verdict. One that says nothing takes back those before it. What stands
// behind the last line's end is a line that is being written, and nobody's verdict.
#ifndef LLAVA_CAPTURE_VERDICTS_H_
#define LLAVA_CAPTURE_VERDICTS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/lines/line_file.h"

namespace llava::capture {

inline constexpr std::size_t kMaxCorrectionBytes = std::size_t{64} << 10;

// Of a shard's file. Readers take files of four times as much, which earlier versions may have
// written.
inline constexpr std::int64_t kMaxVerdictBytes = std::int64_t{256} << 20;

// A file grows to twice what its verdicts take, and so much, before it is written anew without the
// lines that others have taken the place of.
inline constexpr std::int64_t kOldVerdictBytes = std::int64_t{256} << 10;

enum class Thumb { kNone, kUp, kDown };

struct Verdict {
  Thumb thumb = Thumb::kNone;
  std::string correction = {};  // what the answer should have been; empty: nobody said
  std::int64_t time = 0;        // seconds of Unix time
  // Asked to be forgotten after it was trained on: it stays, and nothing takes it any more.
  bool is_removed = false;
  std::vector<std::string> versions = {};  // with is_removed: that were trained on it

  bool operator==(const Verdict&) const = default;
};

// By the number of the row.
using Verdicts = std::map<std::int64_t, Verdict>;

// "up", "down" or "none".
absl::string_view ThumbName(Thumb thumb);

// INVALID_ARGUMENT (FieldOf: "verdict") that lists them.
absl::StatusOr<Thumb> ParseThumb(absl::string_view name);

// INVALID_ARGUMENT (FieldOf: "correction"): too long, or something that no row can have as its
// answer.
absl::Status CheckCorrection(absl::string_view correction);

std::string VerdictsFile(const std::string& folder);

// Of the shard in `folder`; none when there is no file. INVALID_ARGUMENT names file, line and key.
absl::StatusOr<Verdicts> ReadVerdicts(const std::string& folder);

// Replaces the file. On the disk when it returns. Errors carry errno's code and the path.
absl::Status WriteVerdicts(const Verdicts& verdicts, const std::string& folder);

// Of the file of verdicts in `folder`; 0 where there is none.
std::int64_t VerdictBytes(const std::string& folder);

// One shard's file while verdicts come. Nobody else writes it meanwhile. Movable; not thread-safe.
class VerdictFile {
 public:
  // Makes the file where there is none, and cuts off what a crash left of a line. Errors of
  // ReadVerdicts, and errno's code with the path.
  static absl::StatusOr<VerdictFile> Open(const std::string& folder);

  // Whether the row was asked to be forgotten.
  bool IsRemoved(std::int64_t row) const;

  // It is on the disk. A correction that is taken back is gone from the file as well.
  // RESOURCE_EXHAUSTED (FieldOf: "correction"): the file is full. After any other error the verdict
  // may be there or not, and the file must be opened again.
  absl::Status Append(std::int64_t row, const Verdict& verdict);

  std::int64_t bytes() const { return file_.size(); }

 private:
  struct Line {
    std::int64_t bytes = 0;
    bool has_correction = false;
    bool is_removed = false;
  };

  // The last line of each row that has a verdict.
  struct Lines {
    void Take(std::int64_t row, const Verdict& verdict, std::int64_t line_bytes);

    std::map<std::int64_t, Line> by_row = {};
    std::int64_t bytes = 0;
  };

  VerdictFile(std::string folder, LineAppender file, Lines lines)
      : folder_(std::move(folder)), file_(std::move(file)), lines_(std::move(lines)) {}
  absl::Status Rewrite();

  std::string folder_;
  LineAppender file_;
  Lines lines_;
};

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_VERDICTS_H_
