// Multiple choice: MMBench (English and Chinese) and SEED-Bench.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_CHOICE_BENCHES_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_CHOICE_BENCHES_H_

#include <string>

#include "absl/status/statusor.h"
#include "training/evaluate/benchmarks/benchmark.h"

namespace llava::training {

// mmbench_*.tsv (`data` may be the file itself); pictures stand in it, and are written to
// options.scratch. With options.all_rounds each question is asked once for each option, which then
// stand in another order, and counts when all answers are right (CircularEval). Submission: XLSX.
absl::StatusOr<Benchmark> OpenMmBench(const BenchOptions& options, bool chinese);

// SEED-Bench.json, and llava-seed-bench.jsonl where it is there.
absl::StatusOr<Benchmark> OpenSeed(const BenchOptions& options);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_CHOICE_BENCHES_H_
