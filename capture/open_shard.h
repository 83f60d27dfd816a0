// The shard that is being written: a row is on the disk, its pictures before it, when the call that
// appended it returns.
#ifndef LLAVA_CAPTURE_OPEN_SHARD_H_
#define LLAVA_CAPTURE_OPEN_SHARD_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "base/lines/line_file.h"
#include "capture/closing.h"
#include "capture/row.h"

namespace llava::capture {

// What a row adds to a shard at most, in bytes, with its pictures.
std::int64_t WeightOf(const Row& row);

// Not thread-safe. Errors carry errno's code and the path.
class OpenShard {
 public:
  // Makes the folder of the shard `name` in `dir`, with the ending of open ones.
  static absl::StatusOr<std::unique_ptr<OpenShard>> Create(const std::string& dir,
                                                           const std::string& name);

  // After a crash: what was written whole becomes a closed shard, without rows it is deleted.
  static absl::Status Recover(const std::string& dir, const std::string& name);

  // On an error nothing of the row stays. `pictures`: digests of row.pictures.
  absl::Status Append(const Row& row, const std::vector<Digest>& pictures);

  // Writes down what it has (capture/closing.h), where the disk takes that, and gives it the name
  // of a closed one. Only what it is called and has may be asked afterwards.
  absl::Status Close();

  const std::string& name() const { return name_; }
  const std::string& folder() const { return folder_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t bytes() const { return bytes_; }
  void AddBytes(std::int64_t more) { bytes_ += more; }  // of verdicts

 private:
  OpenShard(std::string dir, std::string name, std::string folder, LineAppender file)
      : dir_(std::move(dir)),
        name_(std::move(name)),
        folder_(std::move(folder)),
        file_(std::move(file)) {}

  const std::string dir_;
  const std::string name_;
  const std::string folder_;
  LineAppender file_;
  RowsSum sum_;
  std::int64_t rows_ = 0;
  std::int64_t bytes_ = 0;
  std::set<std::string> pictures_;  // that were written
};

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_OPEN_SHARD_H_
