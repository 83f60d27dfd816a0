// Rows of LLaVA's instruction format as a benchmark of one's own.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_ROWS_BENCH_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_ROWS_BENCH_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "training/evaluate/benchmarks/benchmark.h"

namespace llava::training {

// options.data is the file. Kinds are the rows' "kinds".
absl::StatusOr<Benchmark> OpenRows(const BenchOptions& options);

// How right an answer is: "exact" (IsRight), "contains" (the expected words stand in it), "vqa"
// (equal in VQA's normal form), "number" (the first number), "letter" (of a multiple choice).
// INVALID_ARGUMENT: another metric.
using RowMetric = bool (*)(std::string_view expected, std::string_view answer);
absl::StatusOr<RowMetric> RowMetricByName(const std::string& name);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_ROWS_BENCH_H_
