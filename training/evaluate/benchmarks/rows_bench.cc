#include "training/evaluate/benchmarks/rows_bench.h"

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "training/evaluate/answer_text.h"
#include "training/evaluate/score.h"

namespace llava::training {
namespace {

constexpr std::int64_t kAnswerTokens = 256;
constexpr int kLetters = 26;

bool Contains(std::string_view expected, std::string_view answer) {
  const std::string words = absl::StrCat(" ", NormalVqaAnswer(answer), " ");
  return words.find(absl::StrCat(" ", NormalVqaAnswer(expected), " ")) != words.npos;
}

bool SameVqa(std::string_view expected, std::string_view answer) {
  return NormalVqaAnswer(expected) == NormalVqaAnswer(answer);
}

// The first number of a text, written in digits or as a word up to ten.
std::string FirstNumber(std::string_view text) {
  const std::string normal = absl::StrCat(NormalVqaAnswer(text), " ");
  std::size_t begin = 0;
  for (std::size_t end = normal.find(' '); end != normal.npos; end = normal.find(' ', begin)) {
    const std::string word = normal.substr(begin, end - begin);
    double number = 0;
    if (absl::SimpleAtod(word, &number)) return absl::StrCat(number);
    begin = end + 1;
  }
  return "";
}

bool SameNumber(std::string_view expected, std::string_view answer) {
  const std::string number = FirstNumber(expected);
  return !number.empty() && number == FirstNumber(answer);
}

bool SameLetter(std::string_view expected, std::string_view answer) {
  const auto letter = ChoiceLetter(expected, kLetters);
  return letter.has_value() && letter == ChoiceLetter(answer, kLetters);
}

}  // namespace

absl::StatusOr<RowMetric> RowMetricByName(const std::string& name) {
  if (name == "exact") return &IsRight;
  if (name == "contains") return &Contains;
  if (name == "vqa") return &SameVqa;
  if (name == "number") return &SameNumber;
  if (name == "letter") return &SameLetter;
  return absl::InvalidArgumentError(
      absl::StrCat("metric '", name, "': expected exact, contains, vqa, number or letter"));
}

absl::StatusOr<Benchmark> OpenRows(const BenchOptions& options) {
  ASSIGN_OR_RETURN(const RowMetric is_right, RowMetricByName(options.metric));
  ASSIGN_OR_RETURN(std::vector<EvaluationItem> items,
                   ReadEvaluationItems(options.data, options.limit));
  Benchmark bench;
  bench.name = "rows";
  bench.max_tokens = kAnswerTokens;
  std::vector<std::string> kinds;
  for (EvaluationItem& item : items) {
    BenchQuestion question;
    question.id = std::ssize(bench.questions);
    if (!item.images.empty()) question.image = item.images.front();
    for (const std::string& image : item.images) {
      question.images.push_back(absl::StrCat(options.images, "/", image));
    }
    if (options.history) question.history = std::move(item.history);
    question.prompt = question.recorded = std::move(item.question);
    question.category = item.kind;
    question.expected = std::move(item.answer);
    kinds.push_back(std::move(item.kind));
    bench.questions.push_back(std::move(question));
  }
  bench.grade = [is_right, questions = bench.questions, kinds](const BenchAnswers& answers) {
    std::vector<Grade> grades;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      grades.push_back({.value = is_right(questions[i].expected, answers[i]) ? 1.0 : 0.0,
                        .said = answers[i],
                        .expected = questions[i].expected,
                        .kinds = {kinds[i]}});
    }
    return grades;
  };
  return bench;
}

}  // namespace llava::training
