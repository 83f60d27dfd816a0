// A run's metrics.jsonl as points of curves, read while the run writes it.
#ifndef LLAVA_TRAINING_TRACKING_METRIC_LINES_H_
#define LLAVA_TRAINING_TRACKING_METRIC_LINES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::training {

struct MetricPoint {
  std::string name;
  double value = 0.0;
  std::int64_t millis = 0;  // since 1970
  std::int64_t step = 0;    // over all stages

  bool operator==(const MetricPoint&) const = default;
};

struct MetricBatch {
  std::vector<MetricPoint> points;
  std::int64_t step = 0;        // of its last line of a step, and of what came before
  std::int64_t validation = 0;  // of a validation
};

// Not thread-safe. Nothing is locked: the file grows by whole lines, and is replaced where a run
// goes on from an earlier step.
class MetricLines {
 public:
  static constexpr std::size_t kMostPoints = 1000;  // what MLflow takes at once

  explicit MetricLines(std::string path) : path_(std::move(path)) {}

  // The next points of lines behind those steps, at most kMostPoints; none when there are no more
  // yet. Lines that do not read are passed over, values that are no finite numbers too. Until Take
  // the next call gives the same ones. No error where there is no file.
  absl::StatusOr<MetricBatch> Next(std::int64_t after_step, std::int64_t after_validation);

  // The last batch is done with.
  void Take() { offset_ = next_; }

  // From the file's beginning again.
  void Rewind() { offset_ = next_ = 0; }

 private:
  const std::string path_;
  std::uint64_t inode_ = 0;
  std::int64_t offset_ = 0;  // of the next batch in the file
  std::int64_t next_ = 0;    // of the one behind it
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_TRACKING_METRIC_LINES_H_
