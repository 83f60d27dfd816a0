#include "training/run/exam.h"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/image/image.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

// Unambiguous: the length comes first.
void AddText(const std::string& text, Sha256* hash) {
  hash->Update(absl::StrCat(text.size(), ":")).Update(text);
}

absl::StatusOr<Digest> CheckPicture(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, model::ImageLimits().max_bytes));
  const auto decoded = model::DecodeImage(bytes);
  if (!decoded.ok()) return Annotate(decoded.status(), path);
  return Sha256Of(bytes);
}

// The answers that a file has, up to the first line that is not whole; the rest is cut off.
std::vector<std::string> ReadAnswers(const std::string& file) {
  std::vector<std::string> answers;
  std::ifstream in(file, std::ios::binary);
  std::uint64_t whole = 0;
  for (std::string line; std::getline(in, line) && !in.eof();) {
    boost::system::error_code error;
    const boost::json::value json = boost::json::parse(line, error);
    const boost::json::object* object = error ? nullptr : json.if_object();
    const boost::json::value* answer = object ? object->if_contains("answer") : nullptr;
    if (answer == nullptr || !answer->is_string()) break;
    answers.emplace_back(answer->as_string());
    whole += line.size() + 1;
  }
  in.close();
  std::error_code error;
  if (fs::exists(file, error)) fs::resize_file(file, whole, error);
  return answers;
}

absl::StatusOr<std::string> AnswerOf(Answerer& answerer, const EvaluationItem& item,
                                     const std::string& images) {
  std::vector<std::string> paths;
  for (const std::string& image : item.images) paths.push_back(absl::StrCat(images, "/", image));
  const absl::StatusOr<Answer> answer = answerer.Ask(paths, item.question, kAnswerTokens);
  if (absl::IsInvalidArgument(answer.status())) return "";  // longer than the context
  RETURN_IF_ERROR(answer.status());
  return Utf8Repair(answer->text);
}

}  // namespace

absl::StatusOr<Exam> OpenExam(const std::string& file, const std::string& images,
                              std::int64_t limit) {
  Exam exam;
  exam.images = images;
  ASSIGN_OR_RETURN(exam.items, ReadEvaluationItems(file, limit));
  Sha256 hash;
  std::map<std::string, Digest> pictures;
  for (const EvaluationItem& item : exam.items) {
    for (const std::string* text : {&item.question, &item.answer, &item.kind}) {
      AddText(*text, &hash);
    }
    hash.Update(absl::StrCat(item.images.size(), ";"));
    for (const std::string& image : item.images) {
      if (images.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(
            file, ": names ", image, ", expected the folder of its pictures (images)"));
      }
      if (!pictures.contains(image)) {
        ASSIGN_OR_RETURN(pictures[image], CheckPicture(absl::StrCat(images, "/", image)));
      }
      hash.Update(pictures[image]);
    }
  }
  exam.fingerprint = hash.Finish().Hex();
  return exam;
}

absl::StatusOr<ExamResult> TakeExam(Answerer& answerer, const Exam& exam,
                                    const std::string& answers_file) {
  std::error_code error;
  fs::create_directories(fs::path(answers_file).parent_path(), error);
  std::vector<std::string> answers = ReadAnswers(answers_file);
  std::ofstream out(answers_file, std::ios::binary | std::ios::app);
  for (std::size_t i = answers.size(); i < exam.items.size(); ++i) {
    const EvaluationItem& item = exam.items[i];
    ASSIGN_OR_RETURN(std::string answer, AnswerOf(answerer, item, exam.images));
    out << boost::json::serialize(boost::json::object{
               {"question", item.question}, {"expected", item.answer}, {"answer", answer}})
        << std::endl;  // a process may be ended after each question
    if (!out) return absl::UnavailableError(absl::StrCat(answers_file, ": cannot be written"));
    answers.push_back(std::move(answer));
  }
  ExamResult result;
  for (std::size_t i = 0; i < exam.items.size(); ++i) {
    const bool right = IsRight(exam.items[i].answer, answers[i]);
    KindScore& score = result.scores[exam.items[i].kind];
    ++score.asked;
    score.right += right ? 1 : 0;
    result.right.push_back(right);
  }
  result.answers = std::move(answers);
  return result;
}

}  // namespace llava::training
