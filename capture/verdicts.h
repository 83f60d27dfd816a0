// What people said of the answers in a shard, in a file beside its rows: thumbs, corrections, and
// which rows were asked to be forgotten. One verdict a row; the file is replaced as a whole.
#ifndef LLAVA_CAPTURE_VERDICTS_H_
#define LLAVA_CAPTURE_VERDICTS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::capture {

inline constexpr std::size_t kMaxCorrectionBytes = std::size_t{64} << 10;

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

// On the disk when it returns. Errors carry errno's code and the path.
absl::Status WriteVerdicts(const Verdicts& verdicts, const std::string& folder);

// Of the file of verdicts in `folder`; 0 where there is none.
std::int64_t VerdictBytes(const std::string& folder);

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_VERDICTS_H_
