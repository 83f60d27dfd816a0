#include "training/evaluate/benchmarks/science_qa.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "training/evaluate/answer_text.h"
#include "training/evaluate/benchmarks/bench_files.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::int64_t kAnswerTokens = 1024;
constexpr int kMostChoices = 5;
constexpr char kLetterOnly[] = "\nAnswer with the option's letter from the given choices directly.";
constexpr char kPicture[] = "<image>\n";

absl::StatusOr<std::vector<std::string>> Choices(const json::object& problem) {
  std::vector<std::string> choices;
  const json::value* list = problem.if_contains("choices");
  if (list != nullptr && list->is_array()) {
    for (const json::value& choice : list->get_array()) choices.push_back(IdText(choice));
  }
  if (choices.empty() || std::ssize(choices) > kMostChoices) {
    return absl::InvalidArgumentError(
        absl::StrCat("choices: are ", choices.size(), ", expected 1 to ", kMostChoices));
  }
  return choices;
}

std::string Strip(std::string text) { return std::string(absl::StripAsciiWhitespace(text)); }

bool HasPicture(const json::object& problem) { return !TextOr(problem, "image").empty(); }

absl::StatusOr<BenchQuestion> QuestionOf(const BenchOptions& options, const std::string& id,
                                         const json::object& problem) {
  BenchQuestion question;
  question.id = json::string(id);
  ASSIGN_OR_RETURN(question.prompt, ScienceQaPrompt(problem, options.format));
  if (options.letter_only) question.prompt += kLetterOnly;
  question.recorded = question.prompt;
  question.category = TextOr(problem, "subject");
  ASSIGN_OR_RETURN(const std::vector<std::string> choices, Choices(problem));
  const json::value* answer = problem.if_contains("answer");
  if (answer == nullptr || !answer->is_int64() || answer->get_int64() < 0 ||
      answer->get_int64() >= std::ssize(choices)) {
    return absl::InvalidArgumentError("answer: expected the number of a choice");
  }
  question.expected = std::string(1, static_cast<char>('A' + answer->get_int64()));
  if (!HasPicture(problem)) return question;
  question.recorded = kPicture + question.recorded;
  question.image = absl::StrCat(id, "/", TextOr(problem, "image"));
  const std::string folder = options.images.empty()
                                 ? absl::StrCat(options.data, "/images/", options.split)
                                 : options.images;
  question.images = {absl::StrCat(folder, "/", question.image)};
  return question;
}

struct Problems {
  json::value all;
  std::vector<std::string> ids;  // of the split, in its order
};

absl::StatusOr<Problems> ReadProblems(const BenchOptions& options) {
  Problems problems;
  ASSIGN_OR_RETURN(const std::string file,
                   GivenOrFound(options.questions, options.data, {"problems.json"}));
  ASSIGN_OR_RETURN(const std::string split_file,
                   GivenOrFound(options.annotations, options.data, {"pid_splits.json"}));
  ASSIGN_OR_RETURN(problems.all, ReadJsonFile(file));
  ASSIGN_OR_RETURN(const json::value splits, ReadJsonFile(split_file));
  const json::value* ids =
      splits.is_object() ? splits.get_object().if_contains(options.split) : nullptr;
  if (ids == nullptr || !ids->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(split_file, ": expected a list '", options.split, "'"));
  }
  for (const json::value& id : ids->get_array()) problems.ids.push_back(IdText(id));
  if (!problems.all.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": expected an object"));
  }
  return problems;
}

Grade GradeOf(const BenchQuestion& question, const std::vector<std::string>& kinds, int choices,
              const std::string& answer) {
  Grade grade;
  const int index = ScienceQaIndex(answer, choices);
  grade.said = index < 0 ? "" : std::string(1, static_cast<char>('A' + index));
  grade.expected = question.expected;
  grade.value = grade.said == grade.expected ? 1 : 0;
  grade.kinds = kinds;
  return grade;
}

}  // namespace

absl::StatusOr<std::string> ScienceQaPrompt(const json::object& problem,
                                            const std::string& format) {
  ASSIGN_OR_RETURN(const std::string question, TextAt(problem, "question", "problem"));
  ASSIGN_OR_RETURN(const std::vector<std::string> choices, Choices(problem));
  std::string context = Strip(TextOr(problem, "hint"));
  if (context.empty()) context = "N/A";
  std::string options;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    absl::StrAppend(&options, i == 0 ? "(" : " (", std::string(1, static_cast<char>('A' + i)), ") ",
                    choices[i]);
  }
  std::string text;
  if (absl::StartsWith(format, "QCM-")) {
    text = absl::StrCat("Question: ", question, "\nContext: ", context, "\nOptions: ", options);
  } else if (absl::StartsWith(format, "CQM-")) {
    text = absl::StrCat("Context: ", context, "\nQuestion: ", question, "\nOptions: ", options);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("format '", format, "': expected QCM-... or CQM-..., such as QCM-LEA"));
  }
  text = Strip(absl::StrReplaceAll(text + "\n", {{"  ", " "}}));
  if (absl::StartsWith(text, "Question: ")) text = absl::StrReplaceAll(text, {{"Question: ", ""}});
  return Strip(absl::StrReplaceAll(text, {{"<image>", ""}}));  // model_vqa_science.py
}

std::vector<std::string> ScienceQaKinds(const json::object& problem) {
  std::vector<std::string> kinds;
  const std::string subject = TextOr(problem, "subject");
  if (subject == "natural science") kinds.push_back("NAT");
  if (subject == "social science") kinds.push_back("SOC");
  if (subject == "language science") kinds.push_back("LAN");
  const bool text = !TextOr(problem, "hint").empty();
  if (text) kinds.push_back("TXT");
  if (HasPicture(problem)) kinds.push_back("IMG");
  if (!text && !HasPicture(problem)) kinds.push_back("NO");
  const std::string grade = TextOr(problem, "grade");
  const bool low = grade.size() == 6 && grade[5] >= '1' && grade[5] <= '6';  // "grade1"
  if (absl::StartsWith(grade, "grade")) kinds.push_back(low ? "G1-6" : "G7-12");
  return kinds;
}

std::string EnsembleAnswer(const ScienceQaEnsemble& ensemble, const std::string& id,
                           const std::string& ours, int choices) {
  const auto letter = [&](int index) {
    return index < 0 ? std::string() : std::string(1, static_cast<char>('A' + index));
  };
  const auto of = [&](const std::map<std::string, std::string>& texts) {
    const auto found = texts.find(id);
    return found == texts.end() ? -1 : ScienceQaIndex(found->second, choices);
  };
  const int our_index = ScienceQaIndex(ours, choices);
  const int their_index = of(ensemble.theirs);
  if (!ensemble.judge) return letter(their_index < 0 ? our_index : their_index);
  if (their_index == our_index) return letter(our_index);
  const int again = of(ensemble.asked_again);
  return letter(again < 0 ? our_index : again);
}

std::string AskAgainPrompt(const std::string& question, const std::string& ours,
                           const std::string& theirs) {
  return absl::StrCat(
      "Question: ", question, "\n\nTwo assistants have answered.\n\n[Assistant 1]\n", ours,
      "\n\n[End of Assistant 1]\n\n[Assistant 2]\n", theirs,
      "\n\n[End of Assistant 2]\n\nCheck both against the question, and decide yourself. Give a "
      "short explanation, and end with one sentence of the form \"The answer is X.\", where X is "
      "the letter of one of the options.");
}

absl::StatusOr<Benchmark> OpenScienceQa(const BenchOptions& options) {
  ASSIGN_OR_RETURN(const Problems problems, ReadProblems(options));
  Benchmark bench;
  bench.name = "scienceqa";
  bench.max_tokens = kAnswerTokens;
  std::vector<std::vector<std::string>> kinds;
  for (const std::string& id : problems.ids) {
    const json::value* problem = problems.all.get_object().if_contains(id);
    if (problem == nullptr || !problem->is_object()) {
      return absl::InvalidArgumentError(absl::StrCat("problems.json: has no problem ", id));
    }
    auto question = QuestionOf(options, id, problem->get_object());
    if (!question.ok()) return Annotate(question.status(), absl::StrCat("problem ", id));
    ASSIGN_OR_RETURN(const std::vector<std::string> choices, Choices(problem->get_object()));
    question->choices = static_cast<int>(choices.size());
    bench.questions.push_back(*std::move(question));
    kinds.push_back(ScienceQaKinds(problem->get_object()));
  }
  bench.grade = [questions = bench.questions, kinds](const BenchAnswers& answers) {
    std::vector<Grade> grades;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      grades.push_back(GradeOf(questions[i], kinds[i], questions[i].choices, answers[i]));
    }
    return grades;
  };
  return bench;
}

}  // namespace llava::training
