// Questions with short answers: VQAv2, GQA, VizWiz, TextVQA, MM-Vet. Their files of questions are
// those of question_files.h, with labels beside them where they are public.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_VQA_BENCHES_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_VQA_BENCHES_H_

#include <string>

#include "absl/status/statusor.h"
#include "training/evaluate/benchmarks/benchmark.h"

namespace llava::training {

// Labels: testdev_balanced_questions.json. Submission: predictions for GQA's eval.py.
absl::StatusOr<Benchmark> OpenGqa(const BenchOptions& options);

// Labels: v2_mscoco_val2014_annotations.json. Submission for EvalAI.
absl::StatusOr<Benchmark> OpenVqaV2(const BenchOptions& options);

// Labels: val.json. Submission for EvalAI.
absl::StatusOr<Benchmark> OpenVizWiz(const BenchOptions& options);

// Labels: TextVQA_0.5.1_val.json.
absl::StatusOr<Benchmark> OpenTextVqa(const BenchOptions& options);

// Graded by its own server alone.
absl::StatusOr<Benchmark> OpenMmVet(const BenchOptions& options);

// What eval_textvqa.py takes for the question in a prompt.
std::string TextVqaQuestion(const std::string& prompt);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_VQA_BENCHES_H_
