// Whether an answer is right, and how often, for each kind of question.
#ifndef LLAVA_TRAINING_EVALUATE_SCORE_H_
#define LLAVA_TRAINING_EVALUATE_SCORE_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::training {

// One question with its true answer.
struct EvaluationItem {
  std::vector<std::string> images;  // relative to the images folder
  std::string question;             // without placeholders
  std::string answer;
  std::string kind;                                            // "all" where the data names none
  std::vector<std::pair<std::string, std::string>> history{};  // questions and answers before it
};

// Every question of LLaVA rows, each on its own; rows may name the kinds of their answers in a list
// "kinds", as `llava-train scenes` writes it. At most `limit` rows; 0: all.
absl::StatusOr<std::vector<EvaluationItem>> ReadEvaluationItems(const std::string& file,
                                                                std::int64_t limit);

// Equal but for case, white space at the ends and between words, and a full stop at the end.
bool IsRight(std::string_view expected, std::string_view answer);

struct KindScore {
  std::int64_t asked = 0;
  std::int64_t right = 0;

  double share() const {
    return asked == 0 ? 0.0 : static_cast<double>(right) / static_cast<double>(asked);
  }
};

using Scores = std::map<std::string, KindScore>;

// A table for a person, a line a kind and one for all together.
std::string ToText(const Scores& scores);

// Shares by kind, and "total": what a manifest records.
std::map<std::string, double> Shares(const Scores& scores);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_SCORE_H_
