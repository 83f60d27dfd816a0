// Benchmarks whose answers are yes or no: POPE and MME.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_YES_NO_BENCHES_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_YES_NO_BENCHES_H_

#include "absl/status/statusor.h"
#include "training/evaluate/benchmarks/benchmark.h"

namespace llava::training {

// coco_pope_random.json, coco_pope_popular.json and coco_pope_adversarial.json, in `data` or below;
// pictures in val2014/. Questions are llava_pope_test.jsonl's where it is there.
absl::StatusOr<Benchmark> OpenPope(const BenchOptions& options);

// A folder a subtask, with pictures and texts of two lines "question<tab>answer" beside them or in
// images/ and questions_answers_YN/. Submission: a text a subtask, as calculation.py of MME's tool
// reads it.
absl::StatusOr<Benchmark> OpenMme(const BenchOptions& options);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_YES_NO_BENCHES_H_
