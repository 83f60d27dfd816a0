#include "training/evaluate/benchmarks/yes_no_benches.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "training/evaluate/answer_text.h"
#include "training/evaluate/benchmarks/bench_files.h"
#include "training/evaluate/benchmarks/question_files.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::int64_t kAnswerTokens = 128;
constexpr std::size_t kMaxTextBytes = 1 << 20;
constexpr std::size_t kQuestionsOfAPicture = 2;
constexpr char kYesOrNo[] = "Please answer yes or no.";  // LLaVA asks MME in its own words
constexpr std::array<const char*, 3> kPopeFiles = {"adversarial", "popular", "random"};

absl::StatusOr<BenchQuestion> PopeQuestion(const json::object& line, const std::string& folder,
                                           const std::string& place) {
  BenchQuestion question;
  ASSIGN_OR_RETURN(question.prompt, TextAt(line, "text", place));
  ASSIGN_OR_RETURN(question.image, TextAt(line, "image", place));
  if (!absl::EndsWith(question.prompt, kShortAnswerSuffix)) question.prompt += kShortAnswerSuffix;
  question.recorded = question.prompt;
  question.images = {absl::StrCat(folder, "/", question.image)};
  return question;
}

// The questions of one file of labels. `asked`: llava_pope_test.jsonl's of that category, in order;
// empty without one.
absl::Status AddPope(const std::string& category, const std::string& file,
                     const std::string& folder, const std::vector<json::object>& asked,
                     Benchmark* bench) {
  ASSIGN_OR_RETURN(const std::vector<json::object> labels, ReadBenchLines(file));
  if (!asked.empty() && asked.size() != labels.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": has ", labels.size(), " labels for ", asked.size(), " questions"));
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const json::object& line = asked.empty() ? labels[i] : asked[i];
    ASSIGN_OR_RETURN(BenchQuestion question,
                     PopeQuestion(line, folder, absl::StrCat(file, ":", i + 1)));
    const json::value* id = asked.empty() ? nullptr : line.if_contains("question_id");
    question.id = id != nullptr ? *id : json::value(std::ssize(bench->questions) + 1);
    question.category = category;
    ASSIGN_OR_RETURN(const std::string label, TextAt(labels[i], "label", file));
    question.expected = label == "no" ? "no" : "yes";
    bench->questions.push_back(std::move(question));
  }
  return absl::OkStatus();
}

using Says = std::string (*)(std::string_view answer);

void GradeYesNo(Says says, Benchmark* bench) {
  bench->grade = [says, questions = bench->questions](const BenchAnswers& answers) {
    std::vector<Grade> grades;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      Grade grade;
      grade.said = says(answers[i]);
      grade.expected = questions[i].expected;
      grade.value = grade.said == grade.expected ? 1 : 0;
      grade.kinds = {questions[i].category};
      grades.push_back(std::move(grade));
    }
    return grades;
  };
}

std::string PopeSays(std::string_view answer) { return PopeSaysYes(answer) ? "yes" : "no"; }

// Names in a folder, in order.
std::vector<fs::path> In(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    paths.push_back(at->path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// The picture that a text of MME is about.
absl::StatusOr<fs::path> PictureOf(const fs::path& text, const fs::path& pictures) {
  for (const char* ending : {".jpg", ".png", ".jpeg"}) {
    const fs::path picture = pictures / (text.stem().string() + ending);
    if (IsThere(picture.string())) return picture;
  }
  return absl::NotFoundError(
      absl::StrCat(text.string(), ": expected a picture of this name in ", pictures.string()));
}

absl::Status AddMmeText(const std::string& task, const fs::path& text, const fs::path& pictures,
                        Benchmark* bench) {
  ASSIGN_OR_RETURN(const std::string content, ReadFile(text.string(), kMaxTextBytes));
  ASSIGN_OR_RETURN(const fs::path picture, PictureOf(text, pictures));
  std::size_t questions = 0;
  for (const absl::string_view line : absl::StrSplit(content, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(absl::StripAsciiWhitespace(line), '\t');
    if (parts.size() == 1 && parts[0].empty()) continue;
    if (parts.size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat(text.string(), ": expected lines of a question, a tab and an answer"));
    }
    BenchQuestion question;
    question.image = absl::StrCat(task, "/", picture.filename().string());
    question.id = json::string(question.image);
    question.images = {picture.string()};
    const std::string asked(
        absl::StripAsciiWhitespace(absl::StrReplaceAll(parts[0], {{kYesOrNo, ""}})));
    question.prompt = question.recorded = asked + kShortAnswerSuffix;
    question.category = task;
    question.expected = absl::AsciiStrToLower(parts[1]);
    question.more = {{"gt_question", parts[0]}, {"gt", parts[1]}};
    bench->questions.push_back(std::move(question));
    ++questions;
  }
  if (questions == kQuestionsOfAPicture) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(text.string(), ": has ", questions, " questions, expected 2"));
}

absl::Status AddMmeTask(const fs::path& folder, Benchmark* bench) {
  const bool apart = fs::is_directory(folder / "questions_answers_YN");
  const fs::path texts = apart ? folder / "questions_answers_YN" : folder;
  const fs::path pictures = apart ? folder / "images" : folder;
  for (const fs::path& text : In(texts)) {
    if (text.extension() != ".txt") continue;
    RETURN_IF_ERROR(AddMmeText(folder.filename().string(), text, pictures, bench));
  }
  return absl::OkStatus();
}

std::map<std::string, std::string> MmeSubmission(const std::vector<BenchQuestion>& questions,
                                                 const BenchAnswers& answers) {
  std::map<std::string, std::string> files;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const BenchQuestion& question = questions[i];
    std::string answer = answers[i];
    std::replace(answer.begin(), answer.end(), '\n', ' ');
    std::replace(answer.begin(), answer.end(), '\t', ' ');
    if (answer.empty()) answer = "-";  // a line without a fourth field ends calculation.py
    absl::StrAppend(&files[question.category + ".txt"],
                    fs::path(question.image).filename().string(), "\t",
                    IdText(question.more.at("gt_question")), "\t", IdText(question.more.at("gt")),
                    "\t", answer, "\n");
  }
  return files;
}

}  // namespace

absl::StatusOr<Benchmark> OpenPope(const BenchOptions& options) {
  const std::string folder =
      options.images.empty() ? absl::StrCat(options.data, "/val2014") : options.images;
  Benchmark bench;
  bench.name = "pope";
  bench.max_tokens = kAnswerTokens;
  bench.score = YesNoByKind;
  std::map<std::string, std::vector<json::object>> asked;
  const auto given = GivenOrFound(options.questions, options.data, {"llava_pope_test.jsonl"});
  if (given.ok()) {
    ASSIGN_OR_RETURN(const std::vector<json::object> lines, ReadBenchLines(*given));
    for (const json::object& line : lines) asked[TextOr(line, "category")].push_back(line);
  }
  for (const char* category : kPopeFiles) {
    const std::string name = absl::StrCat("coco_pope_", category, ".json");
    const auto file = FindBenchFile(options.data, {name});
    if (absl::IsNotFound(file.status())) continue;
    RETURN_IF_ERROR(file.status());
    RETURN_IF_ERROR(AddPope(category, *file, folder, asked[category], &bench));
  }
  if (bench.questions.empty()) {
    return absl::NotFoundError(
        absl::StrCat(options.data, ": expected files coco_pope_*.json here or below"));
  }
  GradeYesNo(PopeSays, &bench);
  return bench;
}

absl::StatusOr<Benchmark> OpenMme(const BenchOptions& options) {
  fs::path root = options.data;
  if (fs::is_directory(root / "MME_Benchmark_release_version")) {
    root /= "MME_Benchmark_release_version";
  }
  Benchmark bench;
  bench.name = "mme";
  bench.max_tokens = kAnswerTokens;
  bench.score = MmePoints;
  bench.unit = kQuestionsOfAPicture;
  for (const fs::path& folder : In(root)) {
    if (fs::is_directory(folder)) RETURN_IF_ERROR(AddMmeTask(folder, &bench));
  }
  if (bench.questions.empty()) {
    return absl::NotFoundError(absl::StrCat(
        root.string(), ": expected a folder a subtask, with texts of questions and answers"));
  }
  GradeYesNo(MmeSays, &bench);
  bench.submission = [questions = bench.questions](const BenchAnswers& answers) {
    return MmeSubmission(questions, answers);
  };
  return bench;
}

}  // namespace llava::training
