// A language model as the judge of answers: LLaVA-Bench's reviews, and ScienceQA's second opinion.
#ifndef LLAVA_TRAINING_EVALUATE_ASKING_JUDGE_H_
#define LLAVA_TRAINING_EVALUATE_ASKING_JUDGE_H_

#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "training/endpoint/asking_progress.h"
#include "training/endpoint/endpoint.h"
#include "training/evaluate/benchmarks/benchmark.h"
#include "training/evaluate/benchmarks/science_qa.h"
#include "training/evaluate/grade.h"

namespace llava::training {

struct JudgeOptions {
  double temperature = 0.2;  // the original's
  std::int64_t max_tokens = 1024;
  bool both_orders = false;  // ask again with the answers exchanged
};

// One review. Scores are of the reference and of the answer, in this order, whichever stood first.
struct Review {
  std::string text;   // "" when the judge did not answer
  std::string error;  // why not
  std::optional<std::pair<double, double>> scores;
};

// Of one question.
struct Verdicts {
  Review review;
  std::optional<Review> swapped;  // with both orders
};

// One for each pair of the benchmark. The errors of Endpoint::Run; what the judge refuses or cannot
// answer is a review without scores. `progress`, which may be null, hears of each review.
absl::StatusOr<std::vector<Verdicts>> JudgeAll(const Benchmark& benchmark,
                                               const BenchAnswers& answers,
                                               const JudgeOptions& options, Endpoint& judge,
                                               AskingProgress* progress,
                                               const std::atomic<bool>* stop);

// Grades: what the judge did not score is not known; with both orders the mean of the two, where
// both are there. `as_published`: a review without scores counts as -1 and -1, as the original's.
std::vector<Grade> GradesOf(const Benchmark& benchmark, const std::vector<Verdicts>& verdicts,
                            bool as_published);

// By how much the first of two answers is scored higher than the second, on average over both
// orders: 0 for a judge without bias. Nothing without both orders.
std::optional<double> PositionBias(const std::vector<Verdicts>& verdicts);

// reviews.jsonl, as summarize_gpt_review.py reads it; without what the judge did not answer.
std::string ReviewLines(const Benchmark& benchmark, const BenchAnswers& answers,
                        const std::vector<Verdicts>& verdicts);

// Such a file, or an older one with `score` and without `category`, as grades.
absl::StatusOr<std::vector<Grade>> ReadReviews(const std::string& file, bool as_published);

// Asks the judge where ours and theirs differ, and fills in `ensemble->asked_again`.
absl::Status AskAgain(const Benchmark& benchmark, const BenchAnswers& answers,
                      const JudgeOptions& options, Endpoint& judge, ScienceQaEnsemble* ensemble,
                      const std::atomic<bool>* stop);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_ASKING_JUDGE_H_
