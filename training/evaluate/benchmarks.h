// How published benchmarks read an answer. Each follows the script of the reference that is named
// beside it, its quirks included, so that numbers can be compared with published ones.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llava::training {

// POPE (LLaVA, eval_pope.py): whatever has no "No", "not" or "no" before its first full stop is a
// yes.
bool PopeSaysYes(std::string_view answer);

// Positive is "yes".
struct PopeScore {
  std::int64_t true_positive = 0, false_positive = 0, true_negative = 0, false_negative = 0;

  void Add(bool says_yes, bool is_yes);
  double Accuracy() const;
  double Precision() const;
  double Recall() const;
  double F1() const;
  double YesShare() const;
};

// ScienceQA (eval_science_qa.py): index of the chosen answer, -1 when the text names none of the
// first `choices`: a bare letter A-E, a letter followed by ". ", or exactly one "The answer is X.".
int ParseScienceQaAnswer(std::string_view text, int choices);

// LLaVA-Bench: the two scores on the judge's first line, or {-1, -1} when there are not exactly two
// (eval_gpt_review_visual.py); those are averaged in like any other.
std::pair<double, double> ParseReviewScores(std::string_view review);

// 100 * (mean of the second scores) / (mean of the first), by category and for "all"
// (summarize_gpt_review.py): the number that papers report.
std::map<std::string, double> SummariseReviews(
    const std::vector<std::pair<std::string, std::pair<double, double>>>& scores_by_category);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_H_
