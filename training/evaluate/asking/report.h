// What an evaluation leaves for people and programs: a table, results.json, and a page of the
// answers that are wrong.
#ifndef LLAVA_TRAINING_EVALUATE_ASKING_REPORT_H_
#define LLAVA_TRAINING_EVALUATE_ASKING_REPORT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "training/evaluate/benchmarks/benchmark.h"
#include "training/evaluate/grade.h"

namespace llava::training {

struct EvaluationReport {
  std::string bench;
  std::string model;        // a version, or a name
  std::string fingerprint;  // of the data
  // "exact", "labels" or the judging model; and what else only compares with its like: "labels,
  // answers of 64 tokens".
  std::string judge;
  std::string date;  // ISO 8601
  std::int64_t questions = 0;
  std::int64_t unanswered = 0;    // for which the model had no answer: wrong
  std::int64_t judge_failed = 0;  // for which the judge had none: not counted in the scores
  bool as_published = false;
  std::optional<double> position_bias;
  double seconds = 0;
  double cost = 0;  // of the judge, and of a model that is paid, in all runs of this evaluation
  double cost_of_run = 0;  // of the run that wrote this
  ScoreTable scores;
  std::map<std::string, Interval> intervals;
};

// A share as "90.92", or as it is where `bench` counts in points (MME).
std::string ScoreText(const std::string& bench, double value);

// Lines for a person: a kind, its score, its interval.
std::string ReportTable(const EvaluationReport& report);

std::string ReportJson(const EvaluationReport& report);

// Which of "NAME=LEAST" do not hold, those that name no score or no number among them.
std::vector<std::string> NotReached(const std::vector<std::string>& require,
                                    const ScoreTable& scores);

// HTML that needs nothing else: the first 200 wrong answers with their pictures. In judged benches
// those that scored less than the reference.
std::string WrongPage(const Benchmark& benchmark, const std::vector<Grade>& grades,
                      const BenchAnswers& answers);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_ASKING_REPORT_H_
