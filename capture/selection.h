// Which rows of the closed shards a training run takes: by what people said of their answers.
#ifndef LLAVA_CAPTURE_SELECTION_H_
#define LLAVA_CAPTURE_SELECTION_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace llava::capture {

// An answer with a correction is "corrected", whatever its thumb: it is learned as it should have
// been. One with a thumb down and without a correction is never taken; nor is one that was cut at
// its length, unless it was corrected.
struct Wanted {
  bool up = false;
  bool corrected = false;
  bool unrated = false;
};

struct ChosenShard {
  std::string name;
  Digest sha256;          // of rows.jsonl
  std::int64_t rows = 0;  // that were taken
};

// A closed shard that is not what was closed: without rows, with a line that is none, or with other
// rows than its record (capture/closing.h) says.
struct DamagedShard {
  std::string folder;
  std::string why;

  bool operator==(const DamagedShard&) const = default;
};

struct Choice {
  std::vector<DamagedShard> set_aside;                        // nothing of them was looked at
  std::vector<ChosenShard> shards;                            // those with rows that were taken
  std::int64_t rows = 0;                                      // taken
  std::int64_t of = 0;                                        // looked at
  std::int64_t up = 0, down = 0, corrected = 0, unrated = 0;  // among them, taken or not
  std::int64_t cut = 0;                                       // that would have been taken
  std::int64_t removed = 0;                                   // asked to be forgotten
};

// One row that is taken: its line, with its correction as the last answer where it has one, and the
// files of its pictures in `folder`/pictures.
struct ChosenRow {
  std::string line;
  std::string folder;  // of its shard
  std::vector<std::string> pictures;
  std::int64_t number = 0;  // in its shard
};

// The rows of the shards `names` in order, without those of damaged shards. Errors: of files that
// cannot be read, which they name, and what `on_row` returned.
absl::StatusOr<Choice> Choose(const std::string& dir, const std::vector<std::string>& names,
                              const Wanted& wanted,
                              const std::function<absl::Status(ChosenRow row)>& on_row);

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_SELECTION_H_
