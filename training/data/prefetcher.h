// Reads, decodes and preprocesses batches ahead of the trainer, on its own threads, in the order
// that was asked for. Memory is bounded: at most `ahead` batches exist at a time.
#ifndef LLAVA_TRAINING_DATA_PREFETCHER_H_
#define LLAVA_TRAINING_DATA_PREFETCHER_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/data/collator.h"
#include "training/data/instruction_dataset.h"
#include "training/data/sample_builder.h"

namespace llava::training {

struct PrefetcherOptions {
  int workers = 2;                        // threads, at least 1
  int ahead = 4;                          // batches in work or waiting, at least 1
  OnBadRow on_bad_row = OnBadRow::kSkip;  // for images that do not decode
  // So many different rows may be left out; the next one ends the stream with an error.
  std::int64_t most_bad = std::numeric_limits<std::int64_t>::max();
  // One line for each row left out ("data.json:17: row '42': cat.jpg: ..."), but a line a reason
  // (that picture) however often it is met. From a worker, one call at a time.
  std::function<void(const std::string&)> on_bad = nullptr;
};

// Next() is called by one thread, the trainer's. The destructor stops and joins the workers.
class Prefetcher {
 public:
  // Rows of the n-th batch that Next() will return; called by workers, one call at a time, with
  // n = 0, 1, ...; no value ends the stream.
  using Plan = std::function<std::optional<std::vector<std::int64_t>>(std::int64_t n)>;

  // `dataset` and `builder` must outlive this.
  Prefetcher(const InstructionDataset& dataset, const SampleBuilder& builder, Plan plan,
             PrefetcherOptions options);
  ~Prefetcher();

  // The next batch (empty() when every row of it was left out: the step still counts), OUT_OF_RANGE
  // at the end of the stream, or with kStop the error of the first bad row. INVALID_ARGUMENT: more
  // than `most_bad` rows are bad. Whatever happens to be skipped else, DATA_LOSS and ABORTED say
  // that a data file or a picture is no longer what it was.
  absl::StatusOr<Batch> Next();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_PREFETCHER_H_
