// The answers to a benchmark's questions: kept as they come, so that an evaluation that was stopped
// goes on, and written in the original's format when all are there.
#ifndef LLAVA_TRAINING_EVALUATE_ASKING_ANSWER_STORE_H_
#define LLAVA_TRAINING_EVALUATE_ASKING_ANSWER_STORE_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/lines/line_file.h"
#include "training/evaluate/benchmarks/benchmark.h"

namespace llava::training {

struct GivenAnswer {
  std::string text;
  std::string error;  // why there is none; empty when there is one
};

// Whom the answers are from; another asker's answers are not taken for its own.
struct Asker {
  std::string model_id;     // for answers.jsonl
  std::string model;        // what identifies it: a version, or a name and where it answers
  std::string fingerprint;  // of the benchmark
  std::int64_t max_tokens = 0;
  bool scores_choices = false;  // see AskOptions
};

// Not thread-safe.
class AnswerStore {
 public:
  // Without a file: in memory.
  explicit AnswerStore(std::size_t questions) : answers_(questions) {}

  // Reads what an earlier run kept in `file`. FAILED_PRECONDITION: the file has answers of another
  // model, to other questions or under another limit; DATA_LOSS names a line that is none.
  static absl::StatusOr<AnswerStore> Open(const std::string& file, const Asker& asker,
                                          std::size_t questions);

  absl::Status Put(std::size_t question, GivenAnswer answer);

  const std::optional<GivenAnswer>& Get(std::size_t question) const { return answers_[question]; }

  // The questions without an answer.
  std::vector<std::size_t> Unanswered() const;

  // Texts by question, "" where there is none.
  BenchAnswers Texts() const;

 private:
  std::optional<LineAppender> journal_;
  std::vector<std::optional<GivenAnswer>> answers_;
};

// answers.jsonl: a line a question, in order, as model_vqa.py writes it.
std::string AnswerLines(const Benchmark& benchmark, const AnswerStore& store, const Asker& asker);

// questions.jsonl, as model_vqa.py reads it: for scripts that want the questions beside the
// answers.
std::string QuestionLines(const Benchmark& benchmark);

// The identifier of an answer in files: the same for the same answer.
std::string AnswerId(const Benchmark& benchmark, std::size_t question, const std::string& text);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_ASKING_ANSWER_STORE_H_
