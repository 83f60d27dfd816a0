#include "training/evaluate/asking/answer_store.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "training/evaluate/benchmarks/bench_files.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::int64_t kMaxBytes = std::int64_t{4} << 30;
constexpr std::int64_t kManyQuestions = std::int64_t{1} << 40;
constexpr std::size_t kIdDigits = 22;  // as many characters as the original's

std::string Header(const Asker& asker) {
  json::object header{
      {"model", asker.model}, {"questions", asker.fingerprint}, {"max_tokens", asker.max_tokens}};
  if (asker.scores_choices) header["choices_by"] = "score";
  return json::serialize(header);
}

}  // namespace

absl::StatusOr<AnswerStore> AnswerStore::Open(const std::string& file, const Asker& asker,
                                              std::size_t questions) {
  AnswerStore store(questions);
  std::vector<std::string> lines;
  ASSIGN_OR_RETURN(LineAppender journal, LineAppender::Open(file, kMaxBytes, &lines));
  if (lines.empty()) {
    RETURN_IF_ERROR(journal.AppendDurably(Header(asker)));
  } else if (lines.front() != Header(asker)) {
    return absl::FailedPreconditionError(absl::StrCat(file, " has answers for ", lines.front(),
                                                      ", expected ", Header(asker),
                                                      "; choose another --out"));
  }
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const std::string place = absl::StrCat(file, ":", i + 1);
    const auto object = ParseJsonObject(lines[i], place);
    if (!object.ok()) return absl::DataLossError(object.status().message());
    JsonReader reader(place, *object);
    const std::int64_t question = reader.Int("question", -1, 0, kManyQuestions);
    GivenAnswer answer{reader.String("text", ""), reader.String("error", "")};
    if (!reader.status().ok()) return absl::DataLossError(reader.status().message());
    if (question < 0 || question >= static_cast<std::int64_t>(questions)) {
      return absl::DataLossError(absl::StrCat(place, ": there is no question ", question));
    }
    store.answers_[static_cast<std::size_t>(question)] = std::move(answer);
  }
  store.journal_ = std::move(journal);
  return store;
}

absl::Status AnswerStore::Put(std::size_t question, GivenAnswer answer) {
  if (journal_.has_value()) {
    RETURN_IF_ERROR(journal_->AppendDurably(json::serialize(
        json::object{{"question", question}, {"text", answer.text}, {"error", answer.error}})));
  }
  answers_[question] = std::move(answer);
  return absl::OkStatus();
}

std::vector<std::size_t> AnswerStore::Unanswered() const {
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < answers_.size(); ++i) {
    if (!answers_[i].has_value()) open.push_back(i);
  }
  return open;
}

BenchAnswers AnswerStore::Texts() const {
  BenchAnswers texts;
  for (const auto& answer : answers_) texts.push_back(answer.has_value() ? answer->text : "");
  return texts;
}

std::string AnswerId(const Benchmark& benchmark, std::size_t question, const std::string& text) {
  return Sha256Of(absl::StrCat(benchmark.name, "\n", IdText(benchmark.questions[question].id), "\n",
                               question, "\n", text))
      .Hex()
      .substr(0, kIdDigits);
}

std::string AnswerLines(const Benchmark& benchmark, const AnswerStore& store, const Asker& asker) {
  std::string lines;
  const BenchAnswers texts = store.Texts();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const BenchQuestion& question = benchmark.questions[i];
    json::object line{{"question_id", question.id}, {"prompt", question.recorded},
                      {"text", texts[i]},           {"answer_id", AnswerId(benchmark, i, texts[i])},
                      {"model_id", asker.model_id}, {"metadata", json::object()}};
    for (const auto& [key, value] : question.more) line[key] = value;
    const std::optional<GivenAnswer>& answer = store.Get(i);
    if (!answer.has_value() || !answer->error.empty()) {
      line["metadata"] = json::object{{"error", answer.has_value() ? answer->error : "not asked"}};
    }
    absl::StrAppend(&lines, json::serialize(line), "\n");
  }
  return lines;
}

std::string QuestionLines(const Benchmark& benchmark) {
  std::string lines;
  for (const BenchQuestion& question : benchmark.questions) {
    json::object line{{"question_id", question.id}};
    if (!question.image.empty()) line["image"] = question.image;
    line["text"] = question.prompt;
    line["category"] = question.category;
    absl::StrAppend(&lines, json::serialize(line), "\n");
  }
  return lines;
}

}  // namespace llava::training
