// Files of questions about pictures: LLaVA's own, or those of a benchmark's authors, of which the
// same lines are made.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_QUESTION_FILES_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_QUESTION_FILES_H_

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/evaluate/benchmarks/benchmark.h"

namespace llava::training {

// Behind a question whose answer is short.
inline constexpr char kShortAnswerSuffix[] = "\nAnswer the question using a single word or phrase.";

struct QuestionFile {
  std::vector<boost::json::object> lines;  // question_id, image, text, category
  std::string pictures;                    // their folder, below the benchmark's
};

struct QuestionNames {
  std::vector<std::string> llava;      // lines of JSON
  std::string pictures;                // where their pictures are
  std::vector<std::string> published;  // JSON, read by `read`
  absl::StatusOr<QuestionFile> (*read)(const std::string& file);
};

// The given file, LLaVA's below `options.data`, or else the authors'. NOT_FOUND names them all.
absl::StatusOr<QuestionFile> ReadQuestions(const QuestionNames& names, const BenchOptions& options);

// testdev_balanced_questions.json: by question, with "question" and "imageId".
absl::StatusOr<QuestionFile> ReadGqaQuestions(const std::string& file);
// v2_OpenEnded_mscoco_*_questions.json.
absl::StatusOr<QuestionFile> ReadVqaV2Questions(const std::string& file);
// test.json, val.json: a question's number is its place. Asked with LLaVA's words about what cannot
// be told.
absl::StatusOr<QuestionFile> ReadVizWizQuestions(const std::string& file);
// TextVQA_0.5.1_val.json; with the tokens of TextVQA_Rosetta_OCR_v0.2_val.json if that is beside
// it. A question's id is its picture's, as in LLaVA's file.
absl::StatusOr<QuestionFile> ReadTextVqaQuestions(const std::string& file);
// mm-vet.json: by "v1_N", with "question" and "imagename".
absl::StatusOr<QuestionFile> ReadMmVetQuestions(const std::string& file);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_QUESTION_FILES_H_
