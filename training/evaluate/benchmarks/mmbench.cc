#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "training/evaluate/answer_text.h"
#include "training/evaluate/benchmarks/bench_files.h"
#include "training/evaluate/benchmarks/choice_benches.h"
#include "training/evaluate/benchmarks/spreadsheet.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::int64_t kAnswerTokens = 1024;
constexpr std::size_t kMaxTableBytes = std::size_t{4} << 30;
constexpr char kEnglish[] = "\nAnswer with the option's letter from the given choices directly.";
constexpr char kChinese[] = "\n请直接回答选项字母。";
constexpr std::size_t kPlaceOfPrediction = 6;  // among the columns that are sent

// A row of the table, by the names of its columns.
class MmRow {
 public:
  MmRow(const BenchTable* table, std::size_t row) : table_(table), row_(row) {}

  std::string operator[](std::string_view name) const {
    const std::int64_t column = table_->Column(name);
    return column < 0 ? "" : table_->rows[row_][static_cast<std::size_t>(column)];
  }

 private:
  const BenchTable* const table_;
  const std::size_t row_;
};

std::vector<std::string> OptionsOf(const MmRow& row) {
  std::vector<std::string> options;
  for (const char* name : {"A", "B", "C", "D"}) {
    const std::string option = row[name];
    if (IsNoValue(option)) break;
    options.push_back(option);
  }
  return options;
}

// Where the picture is already, it stays; a part of one, or another one, does not.
absl::StatusOr<std::string> WritePicture(const MmRow& row, const std::string& folder) {
  const std::string index = row["index"];
  const std::string place = absl::StrCat("row ", index);
  if (absl::StrContains(index, '/')) {
    return absl::InvalidArgumentError(place + ": index: expected a name without '/'");
  }
  const std::string path = absl::StrCat(folder, "/", index, ".jpg");
  std::string bytes;
  if (!absl::Base64Unescape(row["image"], &bytes) || bytes.empty()) {
    return absl::InvalidArgumentError(place + ": image: expected a picture in base64");
  }
  const auto before = ReadFile(path, bytes.size());
  if (before.ok() && *before == bytes) return path;
  RETURN_IF_ERROR(WriteFile(path + ".new", bytes));
  RETURN_IF_ERROR(RenameFile(path + ".new", path));
  return path;
}

json::array Texts(const std::vector<std::string>& texts) {
  json::array array;
  for (const std::string& text : texts) array.push_back(json::string(text));
  return array;
}

// Question `round` of a row: its options, turned so far.
BenchQuestion RoundOf(const MmRow& row, const std::vector<std::string>& options, std::size_t round,
                      const std::string& picture, const char* suffix) {
  BenchQuestion question;
  std::int64_t index = 0;
  const std::string id = row["index"];
  question.id = absl::SimpleAtoi(id, &index) ? json::value(index) : json::value(json::string(id));
  question.images = {picture};
  question.image = fs::path(picture).filename().string();
  question.category = row["category"];
  const std::string hint = row["hint"];
  std::string text = IsNoValue(hint) ? row["question"] : absl::StrCat(hint, "\n", row["question"]);
  std::vector<std::string> turned, letters;
  for (std::size_t i = 0; i < options.size(); ++i) {
    const std::size_t original = (i + round) % options.size();
    turned.push_back(options[original]);
    letters.emplace_back(1, static_cast<char>('A' + original));
    absl::StrAppend(&text, "\n", std::string(1, static_cast<char>('A' + i)), ". ", turned.back());
    if (letters.back() == row["answer"])
      question.expected = std::string(1, static_cast<char>('A' + i));
  }
  question.choices = static_cast<int>(options.size());
  question.recorded = text;
  question.prompt = text + suffix;
  question.more = {
      {"round_id", round}, {"options", Texts(turned)}, {"option_char", Texts(letters)}};
  return question;
}

// The columns that the server wants, with what was predicted among them.
std::string Sheet(const BenchTable& table, const std::vector<std::string>& predictions) {
  std::vector<std::size_t> columns;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const std::string& name = table.columns[i];
    const bool left_out = name == "hint" || name == "category" || name == "source" ||
                          name == "image" || name == "comment" || name == "l2-category";
    if (!left_out) columns.push_back(i);
  }
  const std::size_t place = std::min(kPlaceOfPrediction, columns.size());
  std::vector<std::vector<std::string>> cells;
  const auto add = [&](const std::vector<std::string>& fields, const std::string& prediction) {
    std::vector<std::string> line;
    for (std::size_t i = 0; i <= columns.size(); ++i) {
      if (i == place) line.push_back(prediction);
      if (i < columns.size())
        line.push_back(IsNoValue(fields[columns[i]]) ? "" : fields[columns[i]]);
    }
    cells.push_back(std::move(line));
  };
  add(table.columns, "prediction");
  for (std::size_t row = 0; row < predictions.size(); ++row) add(table.rows[row], predictions[row]);
  return SpreadsheetFile(cells);
}

std::vector<Grade> GradeChoices(const std::vector<BenchQuestion>& questions,
                                const BenchAnswers& answers) {
  std::vector<Grade> grades;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const std::optional<char> letter = ChoiceLetter(answers[i], questions[i].choices);
    Grade grade;
    grade.said = letter.has_value() ? std::string(1, *letter) : "";
    grade.expected = questions[i].expected;
    grade.known = !grade.expected.empty();
    grade.value = grade.known && grade.said == grade.expected ? 1 : 0;
    if (!questions[i].category.empty()) grade.kinds = {questions[i].category};
    grades.push_back(std::move(grade));
  }
  return grades;
}

absl::StatusOr<BenchTable> ReadTable(const BenchOptions& options, bool chinese) {
  std::string file = options.questions;
  if (file.empty() && fs::is_regular_file(options.data)) file = options.data;
  const std::vector<std::string> names =
      chinese
          ? std::vector<std::string>{"mmbench_dev_cn_20231003.tsv", "mmbench_test_cn_20231003.tsv"}
          : std::vector<std::string>{"mmbench_dev_20230712.tsv", "mmbench_test_20230712.tsv"};
  ASSIGN_OR_RETURN(file, GivenOrFound(file, options.data, names));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxTableBytes));
  ASSIGN_OR_RETURN(BenchTable table, ParseTabSeparated(text, file));
  for (const char* name : {"index", "question", "A", "B", "image"}) {
    if (table.Column(name) >= 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(file, ": expected a column '", name, "'"));
  }
  return table;
}

}  // namespace

absl::StatusOr<Benchmark> OpenMmBench(const BenchOptions& options, bool chinese) {
  ASSIGN_OR_RETURN(BenchTable table, ReadTable(options, chinese));
  if (options.limit > 0 && options.limit < std::ssize(table.rows)) {
    table.rows.resize(static_cast<std::size_t>(options.limit));
  }
  std::error_code error;
  fs::create_directories(options.scratch, error);
  Benchmark bench;
  bench.name = chinese ? "mmbench_cn" : "mmbench";
  bench.max_tokens = kAnswerTokens;
  bench.score = WholeUnitsByKind;
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    const MmRow row(&table, i);
    const std::vector<std::string> choices = OptionsOf(row);
    if (choices.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("row ", row["index"], ": has no options"));
    }
    ASSIGN_OR_RETURN(const std::string picture, WritePicture(row, options.scratch));
    bench.units.push_back(bench.questions.size());
    for (std::size_t round = 0; round < (options.all_rounds ? choices.size() : 1); ++round) {
      bench.questions.push_back(
          RoundOf(row, choices, round, picture, chinese ? kChinese : kEnglish));
    }
  }
  bench.grade = [questions = bench.questions](const BenchAnswers& answers) {
    return GradeChoices(questions, answers);
  };
  for (std::vector<std::string>& row : table.rows) {  // pictures are not sent
    row[static_cast<std::size_t>(table.Column("image"))].clear();
  }
  bench.submission = [table = std::move(table), units = bench.units,
                      name = bench.name](const BenchAnswers& answers) {
    std::vector<std::string> first;
    for (const std::size_t unit : units) {
      if (unit < answers.size()) first.push_back(answers[unit]);
    }
    return std::map<std::string, std::string>{{name + ".xlsx", Sheet(table, first)}};
  };
  return bench;
}

}  // namespace llava::training
