// An exam: a model is asked questions whose true answers are known. Its answers are kept in a file,
// so that an exam that was interrupted goes on, and nobody is asked twice.
#ifndef LLAVA_TRAINING_RUN_EXAM_H_
#define LLAVA_TRAINING_RUN_EXAM_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/evaluate/score.h"
#include "training/run/answerer.h"

namespace llava::training {

// How answers are judged: IsRight.
inline constexpr char kExactJudge[] = "exact";
// What kind of questions these are: LLaVA rows, each question on its own.
inline constexpr char kRowsBenchmark[] = "rows";

struct Exam {
  std::vector<EvaluationItem> items;
  std::string images;       // the folder
  std::string fingerprint;  // hex, of all that is asked and expected, the pictures' bytes included
};

// Reads rows and pictures; every picture decodes. The error names what does not.
absl::StatusOr<Exam> OpenExam(const std::string& file, const std::string& images,
                              std::int64_t limit);

struct ExamResult {
  Scores scores;
  std::vector<bool> right;           // of each question
  std::vector<std::string> answers;  // to each
};

// Asks what `answers_file` (JSON lines, one a question in order; made when it is not there) does
// not answer yet. A question that does not fit the model's context counts as answered wrong.
// UNAVAILABLE: the file cannot be written.
absl::StatusOr<ExamResult> TakeExam(Answerer& answerer, const Exam& exam,
                                    const std::string& answers_file);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_EXAM_H_
