// What the pictures of a run were when it read them: path, size and SHA-256, kept in the run's
// folder, so that a run that goes on notices a picture that has been replaced since.
#ifndef LLAVA_TRAINING_DATA_PICTURE_RECORD_H_
#define LLAVA_TRAINING_DATA_PICTURE_RECORD_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "base/mutex.h"

namespace llava::training {

// When a picture's bytes were written, which programs that copy them may set, and when its file was
// changed at all, which nobody can; in nanoseconds since 1970, 0: unknown.
struct PictureTimes {
  std::int64_t written_ns = 0;
  std::int64_t changed_ns = 0;  // records of earlier versions have none

  bool AreThoseOf(const PictureTimes& now) const {
    return written_ns == now.written_ns && (changed_ns == 0 || changed_ns == now.changed_ns);
  }
};

// Thread-safe: all prefetch threads of a process share one.
class PictureRecord {
 public:
  // Reads what all ranks have recorded in `folder` (made when it is not there); this process will
  // record into a file of its own, named by `rank`. With `accept_changes` a picture that differs is
  // recorded anew instead of being an error. DATA_LOSS: a file there is no record.
  static absl::StatusOr<std::shared_ptr<PictureRecord>> Open(const std::string& folder, int rank,
                                                             bool accept_changes);

  // Called with the bytes that were just read at `path`. ABORTED: they are not those that the run
  // has read there before.
  absl::Status Check(const std::string& path, std::string_view bytes);

  // What has been recorded since the last call is on the disk when it returns.
  absl::Status Save();

  // One line for each recorded picture that is gone or whose bytes have changed, at most `most`;
  // only those are read whose size or times differ. What Save() writes then keeps those of them
  // that are the same from being read again.
  std::vector<std::string> Changes(std::size_t most);

 private:
  struct Picture {
    std::uint64_t size = 0;
    PictureTimes times;
    Digest digest;
  };

  PictureRecord(std::string file, bool accept_changes)
      : file_(std::move(file)), accept_changes_(accept_changes) {}
  absl::Status Read(const std::string& file);
  void Note(const std::string& path, const Picture& picture) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string file_;
  const bool accept_changes_;
  mutable Mutex mutex_;
  std::map<std::string, Picture> pictures_ ABSL_GUARDED_BY(mutex_);
  std::string unsaved_ ABSL_GUARDED_BY(mutex_);  // JSON lines
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_PICTURE_RECORD_H_
