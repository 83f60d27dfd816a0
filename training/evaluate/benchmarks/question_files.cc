#include "training/evaluate/benchmarks/question_files.h"

#include <boost/json/array.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "training/evaluate/benchmarks/bench_files.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr char kUnanswerable[] =
    "\nWhen the provided information is insufficient, respond with 'Unanswerable'.";

json::object LineOf(json::value id, const std::string& image, const std::string& text) {
  return {
      {"question_id", std::move(id)}, {"image", image}, {"text", text}, {"category", "default"}};
}

// The file's object, whose values are questions.
absl::StatusOr<json::object> ReadById(const std::string& file) {
  ASSIGN_OR_RETURN(json::value whole, ReadJsonFile(file));
  if (!whole.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": expected an object"));
  }
  return std::move(whole.as_object());
}

absl::StatusOr<json::object> ObjectAt(const json::key_value_pair& member, const std::string& file) {
  if (member.value().is_object()) return member.value().get_object();
  return absl::InvalidArgumentError(
      absl::StrCat(file, ": question ", std::string(member.key()), ": expected an object"));
}

// By picture: what a reader of letters has seen in it.
absl::StatusOr<std::map<std::string, std::string>> ReadSeenLetters(const std::string& questions) {
  std::map<std::string, std::string> seen;
  const std::string file =
      (std::filesystem::path(questions).parent_path() / "TextVQA_Rosetta_OCR_v0.2_val.json")
          .string();
  if (!IsThere(file)) return seen;
  ASSIGN_OR_RETURN(const std::vector<json::object> objects, ReadJsonObjects(file, "data"));
  for (const json::object& object : objects) {
    const json::value* tokens = object.if_contains("ocr_tokens");
    if (tokens == nullptr || !tokens->is_array()) continue;
    std::vector<std::string> texts;
    for (const json::value& token : tokens->get_array()) texts.push_back(IdText(token));
    seen[TextOr(object, "image_id")] = absl::StrJoin(texts, ", ");
  }
  return seen;
}

}  // namespace

absl::StatusOr<QuestionFile> ReadQuestions(const QuestionNames& names,
                                           const BenchOptions& options) {
  auto file = GivenOrFound(options.questions, options.data, names.llava);
  if (absl::IsNotFound(file.status())) file = FindBenchFile(options.data, names.published);
  if (absl::IsNotFound(file.status())) {
    std::vector<std::string> all = names.llava;
    all.insert(all.end(), names.published.begin(), names.published.end());
    return FindBenchFile(options.data, all).status();
  }
  RETURN_IF_ERROR(file.status());
  if (absl::EndsWith(*file, ".json")) return names.read(*file);
  QuestionFile questions;
  ASSIGN_OR_RETURN(questions.lines, ReadBenchLines(*file));
  questions.pictures = names.pictures;
  return questions;
}

absl::StatusOr<QuestionFile> ReadGqaQuestions(const std::string& file) {
  ASSIGN_OR_RETURN(const json::object all, ReadById(file));
  QuestionFile questions{{}, "images"};
  for (const json::key_value_pair& member : all) {
    ASSIGN_OR_RETURN(const json::object object, ObjectAt(member, file));
    ASSIGN_OR_RETURN(const std::string question, TextAt(object, "question", file));
    ASSIGN_OR_RETURN(const std::string image, TextAt(object, "imageId", file));
    questions.lines.push_back(
        LineOf(json::string(member.key()), image + ".jpg", question + kShortAnswerSuffix));
  }
  return questions;
}

absl::StatusOr<QuestionFile> ReadVqaV2Questions(const std::string& file) {
  ASSIGN_OR_RETURN(const json::object whole, ReadById(file));
  const std::string set = TextOr(whole, "data_subtype");  // "test-dev2015" has pictures of the test
  const std::string pictures = absl::StartsWith(set, "test") ? "test2015" : set;
  QuestionFile questions{{}, pictures};
  ASSIGN_OR_RETURN(const std::vector<json::object> objects, ReadJsonObjects(file, "questions"));
  for (const json::object& object : objects) {
    ASSIGN_OR_RETURN(const std::string question, TextAt(object, "question", file));
    ASSIGN_OR_RETURN(const std::string id, TextAt(object, "question_id", file));
    ASSIGN_OR_RETURN(const std::string image, TextAt(object, "image_id", file));
    std::int64_t number = 0;
    if (!absl::SimpleAtoi(image, &number)) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": question ", id, ": image_id: expected a number, found ", image));
    }
    questions.lines.push_back(LineOf(object.at("question_id"),
                                     absl::StrFormat("COCO_%s_%012d.jpg", pictures, number),
                                     question + kShortAnswerSuffix));
  }
  return questions;
}

absl::StatusOr<QuestionFile> ReadVizWizQuestions(const std::string& file) {
  ASSIGN_OR_RETURN(const std::vector<json::object> objects, ReadJsonObjects(file, ""));
  QuestionFile questions{{}, "test"};
  for (const json::object& object : objects) {
    ASSIGN_OR_RETURN(const std::string question, TextAt(object, "question", file));
    ASSIGN_OR_RETURN(const std::string image, TextAt(object, "image", file));
    if (absl::StartsWith(image, "VizWiz_val_")) questions.pictures = "val";
    questions.lines.push_back(
        LineOf(questions.lines.size(), image, question + kUnanswerable + kShortAnswerSuffix));
  }
  return questions;
}

absl::StatusOr<QuestionFile> ReadTextVqaQuestions(const std::string& file) {
  ASSIGN_OR_RETURN(const std::vector<json::object> objects, ReadJsonObjects(file, "data"));
  ASSIGN_OR_RETURN(auto letters, ReadSeenLetters(file));
  QuestionFile questions{{}, "train_images"};
  for (const json::object& object : objects) {
    ASSIGN_OR_RETURN(std::string text, TextAt(object, "question", file));
    ASSIGN_OR_RETURN(const std::string image, TextAt(object, "image_id", file));
    if (letters.contains(image)) {
      absl::StrAppend(&text, "\nReference OCR token: ", letters[image]);
    }
    questions.lines.push_back(
        LineOf(object.at("image_id"), image + ".jpg", text + kShortAnswerSuffix));
  }
  return questions;
}

absl::StatusOr<QuestionFile> ReadMmVetQuestions(const std::string& file) {
  ASSIGN_OR_RETURN(const json::object all, ReadById(file));
  QuestionFile questions{{}, "images"};
  for (const json::key_value_pair& member : all) {
    ASSIGN_OR_RETURN(const json::object object, ObjectAt(member, file));
    ASSIGN_OR_RETURN(const std::string question, TextAt(object, "question", file));
    ASSIGN_OR_RETURN(const std::string image, TextAt(object, "imagename", file));
    const std::string name(member.key());
    std::int64_t number = 0;
    if (!absl::SimpleAtoi(absl::StripPrefix(name, "v1_"), &number)) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": question ", name, ": expected a name such as v1_12"));
    }
    questions.lines.push_back(LineOf(number, image, question));
  }
  return questions;
}

}  // namespace llava::training
