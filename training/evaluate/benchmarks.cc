#include "training/evaluate/benchmarks.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

double Ratio(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

bool PopeSaysYes(std::string_view answer) {
  const std::string sentence =
      absl::StrReplaceAll(AbslView(answer.substr(0, answer.find('.'))), {{",", ""}});
  const std::vector<std::string> words = absl::StrSplit(sentence, ' ');
  return std::none_of(words.begin(), words.end(), [](const std::string& word) {
    return word == "No" || word == "not" || word == "no";
  });
}

void PopeScore::Add(bool says_yes, bool is_yes) {
  ++(says_yes ? (is_yes ? true_positive : false_positive)
              : (is_yes ? false_negative : true_negative));
}

double PopeScore::Accuracy() const {
  return Ratio(true_positive + true_negative,
               true_positive + false_positive + true_negative + false_negative);
}
double PopeScore::Precision() const { return Ratio(true_positive, true_positive + false_positive); }
double PopeScore::Recall() const { return Ratio(true_positive, true_positive + false_negative); }
double PopeScore::F1() const {
  return Ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative);
}
double PopeScore::YesShare() const {
  return Ratio(true_positive + false_positive,
               true_positive + false_positive + true_negative + false_negative);
}

int ParseScienceQaAnswer(std::string_view text, int choices) {
  const auto choice = [choices](char letter) { return letter - 'A' < choices ? letter - 'A' : -1; };
  const bool letter_first = !text.empty() && text[0] >= 'A' && text[0] <= 'E';
  if (letter_first && (text.size() == 1 || text.substr(1, 2) == ". ")) return choice(text[0]);
  constexpr std::string_view kMark = "The answer is ";
  int found = -1;
  int count = 0;
  for (std::size_t at = text.find(kMark); at != text.npos; at = text.find(kMark, at + 1)) {
    const std::string_view rest = text.substr(at + kMark.size(), 2);
    if (rest.size() < 2 || rest[0] < 'A' || rest[0] > 'Z' || rest[1] != '.') continue;
    found = choice(rest[0]);
    ++count;
  }
  return count == 1 ? found : -1;
}

std::pair<double, double> ParseReviewScores(std::string_view review) {
  const std::string line =
      absl::StrReplaceAll(AbslView(review.substr(0, review.find('\n'))), {{",", " "}});
  const std::vector<std::string> parts = absl::StrSplit(line, ' ');
  std::pair<double, double> scores;
  if (parts.size() != 2 || !absl::SimpleAtod(parts[0], &scores.first) ||
      !absl::SimpleAtod(parts[1], &scores.second)) {
    return {-1, -1};
  }
  return scores;
}

std::map<std::string, double> SummariseReviews(
    const std::vector<std::pair<std::string, std::pair<double, double>>>& scores_by_category) {
  std::map<std::string, std::pair<double, double>> sums;
  for (const auto& [category, scores] : scores_by_category) {
    for (const std::string& name : {category, std::string("all")}) {
      sums[name].first += scores.first;
      sums[name].second += scores.second;
    }
  }
  std::map<std::string, double> summary;
  for (const auto& [name, sum] : sums) {
    summary[name] = sum.first == 0 ? 0 : 100 * sum.second / sum.first;
  }
  return summary;
}

}  // namespace llava::training
