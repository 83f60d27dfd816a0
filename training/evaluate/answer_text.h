// How benchmarks read an answer. Each function follows the script of the original that is named
// beside it, its quirks included, so that numbers can be compared with published ones.
#ifndef LLAVA_TRAINING_EVALUATE_ANSWER_TEXT_H_
#define LLAVA_TRAINING_EVALUATE_ANSWER_TEXT_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llava::training {

// POPE (eval_pope.py): whatever has no "No", "not" or "no" before its first full stop is a yes.
bool PopeSaysYes(std::string_view answer);

// MME (calculation.py of its tool): "yes", "no", or "other", by the answer's first four characters.
std::string MmeSays(std::string_view answer);

// ScienceQA (eval_science_qa.py): the letter of the chosen answer, 'A' to 'Z', or nothing: a bare
// letter A-E, a letter A-E followed by ". ", or exactly one "The answer is X" with any character
// but a line end behind it.
std::optional<char> ScienceQaLetter(std::string_view text);

// The index of that letter, -1 when there is none among the first `choices` (at most 5).
int ScienceQaIndex(std::string_view text, int choices);

// LLaVA-Bench (eval_gpt_review_visual.py): the two scores on a review's first line. Nothing when
// there are not exactly two numbers, or one is negative or not finite; the original takes -1 for
// both then.
std::optional<std::pair<double, double>> ReviewScores(std::string_view review);

// VQA's answers in a normal form (EvalAIAnswerProcessor of m4c_evaluator.py): lower case, no
// punctuation and articles, numerals as digits, apostrophes where they belong.
std::string NormalVqaAnswer(std::string_view answer);

// How many people agree (TextVQAAccuracyEvaluator): the mean, over all ways to leave one of
// `people` out, of min(1, equal answers / 3). In [0, 1].
double VqaAccuracy(std::string_view answer, const std::vector<std::string>& people);

// The letter of a multiple choice: a letter of the first `choices` alone or with ")", ".", ":" or
// white space behind it, also in brackets. Nothing otherwise.
std::optional<char> ChoiceLetter(std::string_view answer, int choices);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_ANSWER_TEXT_H_
