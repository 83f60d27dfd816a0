// Random access to LLaVA instruction data on disk: JSON arrays, JSONL, either of them gzip'd, tars
// of WebDataset (training/data/tar/tar_samples.h), or several files one after another. Open() reads
// everything once, checks every row and remembers where the good ones are (28 bytes a row, about
// 200 in a tar); Read() parses one row again from the file. So neither the rows nor the file are
// ever in memory together, and the first step waits for one pass only.
#ifndef LLAVA_TRAINING_DATA_INSTRUCTION_DATASET_H_
#define LLAVA_TRAINING_DATA_INSTRUCTION_DATASET_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "training/data/row.h"

namespace llava::training {

enum class OnBadRow { kSkip, kStop };

struct DatasetOptions {
  std::string images_dir = {};  // when given, a row whose image is not a file below it is bad
  // For each file the folder of its images, when it is another one ("": images_dir); empty: none
  // is.
  std::vector<std::string> file_images = {};
  OnBadRow on_bad_row = OnBadRow::kSkip;
  std::string spool_dir =
      {};  // where gzip'd data is unpacked to (an unlinked file); "": the TMPDIR
  // Called for each bad row in file order, from Open(), also with kStop for the row that stops it.
  std::function<void(const RowIssue&)> on_issue = nullptr;
};

// Read-only after Open() and then thread-safe (reads are positional). The files must not change
// while it is open: a row whose bytes are others by then is a DATA_LOSS error.
class InstructionDataset {
 public:
  // A file whose name ends in ".tar" is a tar: a sample's .json is a row, a .txt without one a
  // caption (CaptionRow), and the row's images are the pictures beside it, under paths that
  // ReadPictureFile takes below the row's images_dir. NOT_FOUND: a file that is not there.
  // INVALID_ARGUMENT: a file that is neither a JSON array nor JSONL, a tar that is broken or
  // gzip'd, no good row at all, or with kStop the first bad row. DATA_LOSS: a broken gzip stream, a
  // tar that ends within a member.
  static absl::StatusOr<InstructionDataset> Open(const std::vector<std::string>& files,
                                                 const DatasetOptions& options);

  InstructionDataset(InstructionDataset&&) noexcept;
  InstructionDataset& operator=(InstructionDataset&&) noexcept;
  ~InstructionDataset();

  // Good rows only; `index` below counts these.
  std::int64_t size() const;
  std::int64_t bad_rows() const;

  // The row, and for messages where it stands ("data.json:17", "data.tar: 000017.json"). REQUIRES:
  // 0 <= index < size().
  absl::StatusOr<Row> Read(std::int64_t index) const;
  std::string Describe(std::int64_t index) const;

  // The number of its file, as Open() got them.
  std::size_t FileOf(std::int64_t index) const;

  // The row's bytes as they stand in the file, with the fields that Row does not have.
  absl::StatusOr<std::string> ReadText(std::int64_t index) const;

  // One entry a row: its words, negative for a row without images (the reference's
  // modality_lengths). What LengthGroupedSampler wants.
  const std::vector<std::int32_t>& lengths() const;

  // SHA-256 over the bytes of each file (as stored, so of the gzip'd bytes), in the order given.
  const std::vector<Digest>& digests() const;

 private:
  struct Impl;
  explicit InstructionDataset(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_INSTRUCTION_DATASET_H_
