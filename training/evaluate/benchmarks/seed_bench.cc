#include <algorithm>
#include <boost/json/serialize.hpp>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "training/evaluate/benchmarks/bench_files.h"
#include "training/evaluate/benchmarks/choice_benches.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::int64_t kAnswerTokens = 128;
constexpr char kLetterOnly[] = "\nAnswer with the option's letter from the given choices directly.";

struct SeedFile {
  std::vector<json::object> questions;
  std::map<std::string, std::string> type_names;  // by number
};

absl::StatusOr<SeedFile> ReadSeed(const std::string& file) {
  ASSIGN_OR_RETURN(const json::value whole, ReadJsonFile(file));
  const json::value* list =
      whole.is_object() ? whole.get_object().if_contains("questions") : nullptr;
  if (list == nullptr || !list->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": expected a list 'questions'"));
  }
  SeedFile seed;
  for (const json::value& question : list->get_array()) {
    if (question.is_object()) seed.questions.push_back(question.get_object());
  }
  const json::value* types = whole.get_object().if_contains("question_type");
  if (types != nullptr && types->is_object()) {
    for (const auto& [name, number] : types->get_object()) {
      seed.type_names[IdText(number)] = std::string(name);
    }
  }
  return seed;
}

std::string PromptOf(const json::object& line) {
  std::string prompt = TextOr(line, "question");
  for (const char letter : {'a', 'b', 'c', 'd'}) {
    const std::string choice = TextOr(line, absl::StrCat("choice_", std::string(1, letter)));
    const auto upper = static_cast<char>(letter - 'a' + 'A');
    absl::StrAppend(&prompt, "\n", std::string(1, upper), ". ", choice);
  }
  return prompt + kLetterOnly;
}

// `asked`: its line of llava-seed-bench.jsonl, or null.
absl::StatusOr<BenchQuestion> QuestionOf(const json::object& line, const json::object* asked,
                                         const BenchOptions& options, const std::string& place) {
  BenchQuestion question;
  ASSIGN_OR_RETURN(const std::string id, TextAt(line, "question_id", place));
  std::int64_t number = 0;
  question.id = absl::SimpleAtoi(id, &number) ? json::value(number) : json::value(json::string(id));
  ASSIGN_OR_RETURN(question.expected, TextAt(line, "answer", place));
  if (asked != nullptr) {
    ASSIGN_OR_RETURN(question.prompt, TextAt(*asked, "text", place));
    ASSIGN_OR_RETURN(question.image, TextAt(*asked, "image", place));
  } else {
    question.prompt = PromptOf(line);
    const bool video = TextOr(line, "data_type") == "video";
    const std::string data = TextOr(line, "data_id");
    question.image = video ? absl::StrCat("SEED-Bench-video-image/", data, "_", id, ".png")
                           : absl::StrCat("SEED-Bench-image/", data);
  }
  question.recorded = question.prompt;
  for (const char* key : {"choice_a", "choice_b", "choice_c", "choice_d"}) {
    if (TextOr(line, key).empty()) break;
    ++question.choices;
  }
  const std::string folder = options.images.empty() ? options.data : options.images;
  question.images = {absl::StrCat(folder, "/", question.image)};
  question.more = {{"written_id", line.at("question_id")}};
  return question;
}

// Lines of llava-seed-bench.jsonl by question, none without the file.
absl::StatusOr<std::map<std::string, json::object>> ReadAsked(const BenchOptions& options) {
  std::map<std::string, json::object> asked;
  const auto file = GivenOrFound(options.questions, options.data, {"llava-seed-bench.jsonl"});
  if (!file.ok()) return asked;
  ASSIGN_OR_RETURN(std::vector<json::object> lines, ReadBenchLines(*file));
  for (json::object& line : lines) {
    const std::string id = TextOr(line, "question_id");
    asked[id] = std::move(line);
  }
  return asked;
}

std::string SeedSubmission(const std::vector<BenchQuestion>& questions,
                           const BenchAnswers& answers) {
  std::string lines;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    absl::StrAppend(
        &lines,
        json::serialize(json::object{{"question_id", questions[i].more.at("written_id")},
                                     {"prediction", answers[i]}}),
        "\n");
  }
  return lines;
}

}  // namespace

absl::StatusOr<Benchmark> OpenSeed(const BenchOptions& options) {
  ASSIGN_OR_RETURN(const std::string file,
                   GivenOrFound(options.annotations, options.data, {"SEED-Bench.json"}));
  ASSIGN_OR_RETURN(const SeedFile seed, ReadSeed(file));
  ASSIGN_OR_RETURN(const auto asked, ReadAsked(options));
  Benchmark bench;
  bench.name = "seed";
  bench.max_tokens = kAnswerTokens;
  std::vector<std::vector<std::string>> kinds;
  for (const json::object& line : seed.questions) {
    const auto found = asked.find(TextOr(line, "question_id"));
    ASSIGN_OR_RETURN(
        BenchQuestion question,
        QuestionOf(line, found == asked.end() ? nullptr : &found->second, options, file));
    const auto type = seed.type_names.find(TextOr(line, "question_type_id"));
    question.category = type == seed.type_names.end() ? "" : type->second;
    kinds.emplace_back();
    if (!question.category.empty()) kinds.back().push_back(question.category);
    const std::string data_type = TextOr(line, "data_type");
    if (!data_type.empty()) kinds.back().push_back(data_type);
    bench.questions.push_back(std::move(question));
  }
  bench.grade = [questions = bench.questions, kinds](const BenchAnswers& answers) {
    std::vector<Grade> grades;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const std::string& expected = questions[i].expected;
      grades.push_back({.value = answers[i] == expected ? 1.0 : 0.0,
                        .said = answers[i],
                        .expected = expected,
                        .kinds = kinds[i]});
    }
    return grades;
  };
  bench.submission = [questions = bench.questions](const BenchAnswers& answers) {
    return std::map<std::string, std::string>{
        {"seed_bench.jsonl", SeedSubmission(questions, answers)}};
  };
  return bench;
}

}  // namespace llava::training
