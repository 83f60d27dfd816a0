// LLaVA-Bench: a judge compares answers with those of a reference, seeing captions and boxes
// instead of the picture. Also the 80 questions without pictures from which its rules come.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_LLAVA_BENCH_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_LLAVA_BENCH_H_

#include <string>

#include "absl/status/statusor.h"
#include "training/evaluate/benchmarks/benchmark.h"

namespace llava::training {

// COCO: qa90_questions.jsonl, qa90_gpt4_answer.jsonl, caps_boxes_coco2014_val_80.jsonl, rule.json.
absl::StatusOr<Benchmark> OpenLlavaBenchCoco(const BenchOptions& options);

// In the wild: questions.jsonl, answers_gpt4.jsonl, context.jsonl, rule.json, images/.
absl::StatusOr<Benchmark> OpenLlavaBenchWild(const BenchOptions& options);

// Without pictures: question.jsonl, answer_gpt35.jsonl, rule.json.
absl::StatusOr<Benchmark> OpenVicunaBench(const BenchOptions& options);

// What the judge is told, byte for byte as eval_gpt_review_visual.py, eval_gpt_review_bench.py and
// eval_gpt_review.py do: the reference is the first of the two unless `swapped`.
std::string JudgePrompt(const JudgedPair& pair, const std::string& answer, bool swapped);

// Its system message.
inline constexpr char kJudgeSystem[] =
    "You are a helpful and precise assistant for checking the quality of the answer.";

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_LLAVA_BENCH_H_
