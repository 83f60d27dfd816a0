#include "training/tracking/metric_lines.h"

#include <sys/stat.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <cerrno>
#include <cmath>
#include <string_view>

#include "base/file.h"
#include "base/lines/line_file.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::int64_t kBlock = std::int64_t{4} << 20;  // no line is longer

struct Curve {
  const char* key;   // in a line
  const char* name;  // as TensorBoard shows it
};

constexpr Curve kStepCurves[] = {{"loss", "loss"},
                                 {"accuracy", "accuracy"},
                                 {"grad_norm", "grad_norm"},
                                 {"rate", "rate"},
                                 {"tokens_per_second", "tokens_per_second"},
                                 {"samples_per_second", "samples_per_second"},
                                 {"padding_share", "padding_share"},
                                 {"data_wait_share", "data_wait_share"},
                                 {"memory_bytes", "memory_bytes"}};
constexpr Curve kValidationCurves[] = {{"validation_loss", "validation/loss"},
                                       {"validation_accuracy", "validation/accuracy"}};
constexpr std::size_t kMostOfALine = std::size(kStepCurves);

// 0 where there is none.
template <typename T>
T NumberAt(const json::object& line, const char* key, T otherwise) {
  const json::value* const value = line.if_contains(key);
  if (value == nullptr) return otherwise;
  boost::system::error_code error;
  const T number = value->to_number<T>(error);
  return error ? otherwise : number;
}

template <std::size_t kCurves>
void AddPoints(const json::object& line, const Curve (&curves)[kCurves], std::int64_t step,
               MetricBatch* batch) {
  const auto millis = NumberAt<std::int64_t>(line, "unix_ms", 0);
  for (const Curve& curve : curves) {
    const double value = NumberAt<double>(line, curve.key, std::nan(""));
    if (std::isfinite(value)) batch->points.push_back({curve.name, value, millis, step});
  }
}

void AddLine(std::string_view text, MetricBatch* batch) {
  boost::system::error_code error;
  const json::value parsed = json::parse({text.data(), text.size()}, error);
  if (error || !parsed.is_object()) return;
  const json::object& line = parsed.get_object();
  const auto step = NumberAt<std::int64_t>(line, "total_step", 0);
  if (line.contains("validation_loss")) {
    if (step <= batch->validation) return;
    batch->validation = step;
    AddPoints(line, kValidationCurves, step, batch);
  } else {
    if (step <= batch->step) return;
    batch->step = step;
    AddPoints(line, kStepCurves, step, batch);
  }
}

}  // namespace

absl::StatusOr<MetricBatch> MetricLines::Next(std::int64_t after_step,
                                              std::int64_t after_validation) {
  MetricBatch batch{{}, after_step, after_validation};
  next_ = offset_;
  const absl::StatusOr<FileDescriptor> file = OpenRegularFile(path_);
  if (absl::IsNotFound(file.status())) return batch;
  RETURN_IF_ERROR(file.status());
  struct stat about{};
  if (::fstat(file->get(), &about) != 0) return absl::ErrnoToStatus(errno, path_);
  if (about.st_ino != inode_ || about.st_size < offset_) next_ = 0;
  inode_ = about.st_ino;
  while (batch.points.empty()) {
    ASSIGN_OR_RETURN(const std::string block, ReadBytes(*file, path_, next_, kBlock));
    std::size_t begin = 0;
    for (;;) {
      const std::size_t end = block.find('\n', begin);
      if (end == block.npos || batch.points.size() + kMostOfALine > kMostPoints) break;
      AddLine(std::string_view(block).substr(begin, end - begin), &batch);
      begin = end + 1;
    }
    const bool is_last = static_cast<std::int64_t>(block.size()) < kBlock;
    if (begin == 0 && !is_last) begin = block.size();  // of a line that is no line of ours
    next_ += static_cast<std::int64_t>(begin);
    if (is_last) break;
  }
  return batch;
}

}  // namespace llava::training
