#include "training/evaluate/benchmarks/vqa_benches.h"

#include <boost/json/serialize.hpp>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "training/evaluate/answer_text.h"
#include "training/evaluate/benchmarks/bench_files.h"
#include "training/evaluate/benchmarks/question_files.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::int64_t kShortAnswer = 128;
constexpr std::int64_t kLongAnswer = 1024;

// What is right, by question: all people's answers, or one.
struct Labels {
  std::map<std::string, std::vector<std::string>> people;
  std::map<std::string, std::vector<std::string>> kinds;
};

// "answer" of each element; texts stand for themselves.
std::vector<std::string> AnswersIn(const json::object& object) {
  std::vector<std::string> answers;
  const json::value* list = object.if_contains("answers");
  if (list == nullptr || !list->is_array()) return answers;
  for (const json::value& answer : list->get_array()) {
    answers.push_back(answer.is_object() ? TextOr(answer.get_object(), "answer") : IdText(answer));
  }
  return answers;
}

// The elements of the list at `key`, as they are written; none without one.
std::vector<std::string> TextsAt(const json::value& value, std::string_view key) {
  std::vector<std::string> texts;
  const json::value* list =
      value.is_object() ? value.get_object().if_contains({key.data(), key.size()}) : nullptr;
  if (list == nullptr || !list->is_array()) return texts;
  for (const json::value& element : list->get_array()) texts.push_back(IdText(element));
  return texts;
}

// The file with labels, or "" where there is none.
absl::StatusOr<std::string> LabelFile(const BenchOptions& options, const std::string& name) {
  auto file = GivenOrFound(options.annotations, options.data, {name});
  if (absl::IsNotFound(file.status())) return std::string();
  return file;
}

absl::StatusOr<BenchQuestion> QuestionOf(const json::object& line, const std::string& folder,
                                         const std::string& place) {
  BenchQuestion question;
  const json::value* id = line.if_contains("question_id");
  if (id == nullptr) return absl::InvalidArgumentError(place + ": question_id: is missing");
  question.id = *id;
  ASSIGN_OR_RETURN(question.prompt, TextAt(line, "text", place));
  ASSIGN_OR_RETURN(question.image, TextAt(line, "image", place));
  question.recorded = question.prompt;
  question.category = TextOr(line, "category");
  question.images = {absl::StrCat(folder, "/", question.image)};
  return question;
}

absl::StatusOr<Benchmark> OpenLines(const std::string& name, const QuestionNames& names,
                                    std::int64_t max_tokens, const BenchOptions& options) {
  ASSIGN_OR_RETURN(const QuestionFile questions, ReadQuestions(names, options));
  const std::string folder =
      options.images.empty() ? absl::StrCat(options.data, "/", questions.pictures) : options.images;
  Benchmark bench;
  bench.name = name;
  bench.max_tokens = max_tokens;
  for (const json::object& line : questions.lines) {
    ASSIGN_OR_RETURN(BenchQuestion question, QuestionOf(line, folder, name));
    bench.questions.push_back(std::move(question));
  }
  return bench;
}

// Grades by `share` of the people's answers, which are in the order of the questions.
void GradeBy(double (*share)(std::string_view, const std::vector<std::string>&),
             std::vector<std::vector<std::string>> people,
             std::vector<std::vector<std::string>> kinds, Benchmark* bench) {
  for (std::size_t i = 0; i < people.size(); ++i) {
    if (!people[i].empty()) bench->questions[i].expected = people[i].front();
  }
  bench->grade = [share, people = std::move(people),
                  kinds = std::move(kinds)](const BenchAnswers& answers) {
    std::vector<Grade> grades;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      Grade grade;
      grade.known = !people[i].empty();
      grade.said = answers[i];
      grade.value = grade.known ? share(answers[i], people[i]) : 0;
      grade.expected = grade.known ? people[i].front() : "";
      grade.kinds = kinds[i];
      grades.push_back(std::move(grade));
    }
    return grades;
  };
}

// The same with labels by the questions' ids.
void GradeById(double (*share)(std::string_view, const std::vector<std::string>&),
               const Labels& labels, Benchmark* bench) {
  std::vector<std::vector<std::string>> people, kinds;
  for (const BenchQuestion& question : bench->questions) {
    const std::string id = IdText(question.id);
    const auto answers = labels.people.find(id);
    const auto of_kinds = labels.kinds.find(id);
    people.push_back(answers == labels.people.end() ? std::vector<std::string>() : answers->second);
    kinds.push_back(of_kinds == labels.kinds.end() ? std::vector<std::string>() : of_kinds->second);
  }
  GradeBy(share, std::move(people), std::move(kinds), bench);
}

// convert_gqa_for_eval.py.
std::string GqaAnswer(std::string_view answer) {
  std::string text = absl::AsciiStrToLower({answer.data(), answer.size()});
  while (!text.empty() && text.back() == '.') text.pop_back();
  return text;
}

double GqaAccuracy(std::string_view answer, const std::vector<std::string>& people) {
  return GqaAnswer(answer) == people.front() ? 1 : 0;
}

absl::Status ReadGqaLabels(const std::string& file, Labels* labels) {
  ASSIGN_OR_RETURN(const json::value whole, ReadJsonFile(file));
  if (!whole.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": expected an object"));
  }
  for (const auto& [key, value] : whole.get_object()) {
    if (!value.is_object()) continue;
    const std::string id(key);
    labels->people[id] = {TextOr(value.get_object(), "answer")};
    const json::value* types = value.get_object().if_contains("types");
    if (types == nullptr || !types->is_object()) continue;
    for (const char* name : {"structural", "semantic"}) {
      const std::string kind = TextOr(types->get_object(), name);
      if (!kind.empty()) labels->kinds[id].push_back(kind);
    }
  }
  return absl::OkStatus();
}

std::map<std::string, std::string> OneFile(const std::string& name, const json::value& content) {
  return {{name, json::serialize(content)}};
}

}  // namespace

absl::StatusOr<Benchmark> OpenGqa(const BenchOptions& options) {
  const QuestionNames names{{"llava_gqa_testdev_balanced.jsonl"},
                            "images",
                            {"testdev_balanced_questions.json"},
                            ReadGqaQuestions};
  ASSIGN_OR_RETURN(Benchmark bench, OpenLines("gqa", names, kShortAnswer, options));
  ASSIGN_OR_RETURN(const std::string file, LabelFile(options, "testdev_balanced_questions.json"));
  Labels labels;
  if (!file.empty()) RETURN_IF_ERROR(ReadGqaLabels(file, &labels));
  GradeById(GqaAccuracy, labels, &bench);
  bench.submission = [questions = bench.questions](const BenchAnswers& answers) {
    json::array all;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      all.push_back(
          json::object{{"questionId", questions[i].id}, {"prediction", GqaAnswer(answers[i])}});
    }
    return OneFile("testdev_balanced_predictions.json", all);
  };
  return bench;
}

absl::StatusOr<Benchmark> OpenVqaV2(const BenchOptions& options) {
  const std::string whole_test = "llava_vqav2_mscoco_test2015.jsonl";
  const std::string whole_published = "v2_OpenEnded_mscoco_test2015_questions.json";
  const QuestionNames names{{"llava_vqav2_mscoco_test-dev2015.jsonl", whole_test},
                            "test2015",
                            {"v2_OpenEnded_mscoco_test-dev2015_questions.json", whole_published,
                             "v2_OpenEnded_mscoco_val2014_questions.json"},
                            ReadVqaV2Questions};
  ASSIGN_OR_RETURN(Benchmark bench, OpenLines("vqav2", names, kShortAnswer, options));
  ASSIGN_OR_RETURN(const std::string file,
                   LabelFile(options, "v2_mscoco_val2014_annotations.json"));
  Labels labels;
  if (!file.empty()) {
    ASSIGN_OR_RETURN(const std::vector<json::object> objects, ReadJsonObjects(file, "annotations"));
    for (const json::object& object : objects) {
      const std::string id = TextOr(object, "question_id");
      labels.people[id] = AnswersIn(object);
      const std::string type = TextOr(object, "answer_type");
      if (!type.empty()) labels.kinds[id] = {type};
    }
  }
  GradeById(VqaAccuracy, labels, &bench);
  // The server wants an answer, be it "", to each question of the whole test.
  std::vector<json::value> ids;
  const auto whole = ReadQuestions({{whole_test}, "", {whole_published}, ReadVqaV2Questions},
                                   {.data = options.data});
  if (absl::IsNotFound(whole.status())) {
    for (const BenchQuestion& question : bench.questions) ids.push_back(question.id);
  } else {
    RETURN_IF_ERROR(whole.status());
    for (const json::object& line : whole->lines) ids.push_back(line.at("question_id"));
  }
  bench.submission = [questions = bench.questions, ids](const BenchAnswers& answers) {
    std::map<std::string, std::string> by_id;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      by_id[IdText(questions[i].id)] = NormalVqaAnswer(answers[i]);
    }
    json::array all;
    for (const json::value& id : ids) {
      all.push_back(json::object{{"question_id", id}, {"answer", by_id[IdText(id)]}});
    }
    return OneFile("vqav2_test.json", all);
  };
  return bench;
}

absl::StatusOr<Benchmark> OpenVizWiz(const BenchOptions& options) {
  const QuestionNames names{
      {"llava_test.jsonl"}, "test", {"test.json", "val.json"}, ReadVizWizQuestions};
  ASSIGN_OR_RETURN(Benchmark bench, OpenLines("vizwiz", names, kShortAnswer, options));
  ASSIGN_OR_RETURN(const std::string file, LabelFile(options, "val.json"));
  std::map<std::string, std::vector<std::string>> by_image;
  if (!file.empty()) {
    ASSIGN_OR_RETURN(const std::vector<json::object> objects, ReadJsonObjects(file, "data"));
    for (const json::object& object : objects)
      by_image[TextOr(object, "image")] = AnswersIn(object);
  }
  std::vector<std::vector<std::string>> people;
  for (const BenchQuestion& question : bench.questions) people.push_back(by_image[question.image]);
  GradeBy(VqaAccuracy, std::move(people),
          std::vector<std::vector<std::string>>(bench.questions.size()), &bench);
  bench.submission = [questions = bench.questions](const BenchAnswers& answers) {
    json::array all;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      all.push_back(
          json::object{{"image", questions[i].image}, {"answer", NormalVqaAnswer(answers[i])}});
    }
    return OneFile("vizwiz_test.json", all);
  };
  return bench;
}

std::string TextVqaQuestion(const std::string& prompt) {
  const std::vector<std::string> lines = absl::StrSplit(prompt, '\n');
  std::string question = lines.front();
  if (absl::StartsWith(prompt, "OCR tokens: ")) {
    const std::size_t begin = prompt.find("Question: ");
    const std::size_t end = prompt.find(" Short answer:", begin);
    if (begin != prompt.npos && end != prompt.npos) {
      const std::size_t from = begin + std::string_view("Question: ").size();
      question = prompt.substr(from, end - from);
    }
  } else if (lines.size() == 3 && absl::StartsWith(prompt, "Reference OCR token:")) {
    question = lines[1];
  }
  return absl::AsciiStrToLower(question);
}

absl::StatusOr<Benchmark> OpenTextVqa(const BenchOptions& options) {
  const QuestionNames names{{"llava_textvqa_val_v051_ocr.jsonl"},
                            "train_images",
                            {"TextVQA_0.5.1_val.json"},
                            ReadTextVqaQuestions};
  ASSIGN_OR_RETURN(Benchmark bench, OpenLines("textvqa", names, kShortAnswer, options));
  ASSIGN_OR_RETURN(const std::string file, LabelFile(options, "TextVQA_0.5.1_val.json"));
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> labels;
  if (!file.empty()) {
    ASSIGN_OR_RETURN(const std::vector<json::object> objects, ReadJsonObjects(file, "data"));
    for (const json::object& object : objects) {
      labels[{TextOr(object, "image_id"), absl::AsciiStrToLower(TextOr(object, "question"))}] =
          AnswersIn(object);
    }
  }
  std::vector<std::vector<std::string>> people;
  for (const BenchQuestion& question : bench.questions) {
    people.push_back(labels[{IdText(question.id), TextVqaQuestion(question.prompt)}]);
  }
  GradeBy(VqaAccuracy, std::move(people),
          std::vector<std::vector<std::string>>(bench.questions.size()), &bench);
  return bench;
}

absl::StatusOr<Benchmark> OpenMmVet(const BenchOptions& options) {
  const QuestionNames names{{"llava-mm-vet.jsonl"}, "images", {"mm-vet.json"}, ReadMmVetQuestions};
  ASSIGN_OR_RETURN(Benchmark bench, OpenLines("mm-vet", names, kLongAnswer, options));
  GradeById(VqaAccuracy, {}, &bench);
  bench.submission = [questions = bench.questions](const BenchAnswers& answers) {
    json::object all;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      all[absl::StrCat("v1_", IdText(questions[i].id))] = answers[i];
    }
    return OneFile("mm-vet.json", all);
  };
  return bench;
}

absl::StatusOr<std::vector<Grade>> ReadMmVetGrades(const std::string& file,
                                                   const BenchOptions& options) {
  ASSIGN_OR_RETURN(const std::string label_file,
                   GivenOrFound(options.annotations, options.data, {"mm-vet.json"}));
  ASSIGN_OR_RETURN(const json::value labels, ReadJsonFile(label_file));
  ASSIGN_OR_RETURN(const json::value graded, ReadJsonFile(file));
  for (const auto& [name, value] : {std::pair(label_file, &labels), std::pair(file, &graded)}) {
    if (value->is_object()) continue;
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected an object by question"));
  }
  std::vector<Grade> grades;
  for (const json::key_value_pair& label : labels.get_object()) {
    Grade grade;
    grade.kinds = TextsAt(label.value(), "capability");
    const json::value* found = graded.get_object().if_contains(label.key());
    const std::vector<std::string> scores =
        found == nullptr ? std::vector<std::string>() : TextsAt(*found, "score");
    for (const std::string& text : scores) {
      double score = 0;
      if (!absl::SimpleAtod(text, &score) || !(score >= 0 && score <= 1)) {
        return absl::InvalidArgumentError(absl::StrCat(file, ": ", std::string(label.key()),
                                                       ": score: expected 0 to 1, found ", text));
      }
      grade.value += score / static_cast<double>(scores.size());
    }
    grade.known = !scores.empty();
    grades.push_back(std::move(grade));
  }
  return grades;
}

}  // namespace llava::training
