// Questions with short answers: VQAv2, GQA, VizWiz, TextVQA, MM-Vet. Their files of questions are
// those of question_files.h, with labels beside them where they are public.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_VQA_BENCHES_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_VQA_BENCHES_H_

#include <string>
#include <vector>

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

// Graded by its own grader alone.
absl::StatusOr<Benchmark> OpenMmVet(const BenchOptions& options);

// What that grader has written, {"v1_0": {"score": [0.5, 0.4]}}: the mean of its runs, with the
// capabilities of mm-vet.json as kinds. What it has not graded is not known. INVALID_ARGUMENT names
// what is no score.
absl::StatusOr<std::vector<Grade>> ReadMmVetGrades(const std::string& file,
                                                   const BenchOptions& options);

// What eval_textvqa.py takes for the question in a prompt.
std::string TextVqaQuestion(const std::string& prompt);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_VQA_BENCHES_H_
