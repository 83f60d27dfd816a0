// A published benchmark: what is asked, how answers are graded, and what its server wants to be
// sent. Every benchmark is opened by a function of this room; OpenBenchmark knows them all.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_BENCHMARK_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_BENCHMARK_H_

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "training/evaluate/grade.h"

namespace llava::training {

struct BenchQuestion {
  boost::json::value id{};            // `question_id` in files
  std::vector<std::string> images{};  // files, whose names in questions.jsonl are `image`
  std::string image{};
  std::vector<std::pair<std::string, std::string>> history{};  // what was asked and answered before
  std::string prompt{};        // what the user says; the template puts "<image>\n" in front
  std::string recorded{};      // `prompt` in answers.jsonl: what the original records
  std::string category{};      // may be empty
  std::string expected{};      // for the fingerprint and for people; may be empty
  int choices = 0;             // of a multiple choice
  boost::json::object more{};  // further keys of its line in answers.jsonl
};

using BenchAnswers = std::vector<std::string>;  // one a question, in order; "" when there is none

// Questions and answers that a judge compares.
struct JudgedPair {
  std::string question_id;  // for people
  std::string category;     // of its rule, as the original records it
  std::string context;      // "[Context]\n...\n\n", or nothing
  std::string role;         // of the rule: "Assistant"
  std::string rule;
  std::string question;
  std::string reference;
  boost::json::value reference_id;
};

struct Benchmark {
  std::string name;
  std::int64_t max_tokens = 0;  // of an answer
  std::vector<BenchQuestion> questions;
  std::size_t unit = 1;            // so many questions after another are one unit of the scores...
  std::vector<std::size_t> units;  // ...unless this says where each begins
  ScoreUnits score = MeanByKind;
  // One grade a question, of the first ones as many as there are answers. Not set where a judge
  // grades: then `judged` has a pair for each question.
  std::function<std::vector<Grade>(const BenchAnswers&)> grade;
  std::vector<JudgedPair> judged;
  // Files for the benchmark's server, by name; none where it has no server.
  std::function<std::map<std::string, std::string>(const BenchAnswers&)> submission;
};

struct BenchOptions {
  std::string data{};       // the folder with the benchmark's files, or the file of `rows`
  std::string images{};     // where pictures are; empty: where the benchmark has them below `data`
  std::string questions{};  // instead of the file that is found below `data`
  std::string annotations{};       // likewise
  std::string reference{};         // LLaVA-Bench: the answers to compare with
  std::string rules{};             // LLaVA-Bench: rule.json
  std::string scratch{};           // a folder for pictures that stand within the benchmark's files
  std::string split = "test";      // ScienceQA
  std::string format = "QCM-LEA";  // ScienceQA
  std::string metric = "exact";    // rows
  bool history = false;            // rows: each question with what was said before
  bool all_rounds = false;         // MMBench: CircularEval
  bool letter_only = false;        // ScienceQA: ask for the letter alone
  std::int64_t limit = 0;          // questions; 0: all
};

// The names of all benchmarks.
std::vector<std::string> BenchmarkNames();

// Reads all files but pictures. INVALID_ARGUMENT or NOT_FOUND name what is wrong.
absl::StatusOr<Benchmark> OpenBenchmark(const std::string& name, const BenchOptions& options);

// The grades' units.
std::vector<Unit> UnitsOf(const Benchmark& benchmark, std::span<const Grade> grades);

// SHA-256, in hex, of all that is asked and expected, the pictures' bytes included. The error names
// a picture that cannot be read.
absl::StatusOr<std::string> FingerprintOf(const Benchmark& benchmark);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_BENCHMARK_H_
