// One evaluation from its files to its scores: the benchmark, the answers (asked for, or from a
// file), the judge, and what is written of it.
#ifndef LLAVA_TRAINING_EVALUATE_ASKING_EVALUATION_H_
#define LLAVA_TRAINING_EVALUATE_ASKING_EVALUATION_H_

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "training/endpoint/endpoint_options.h"
#include "training/evaluate/asking/judge.h"
#include "training/evaluate/asking/report.h"
#include "training/evaluate/benchmarks/benchmark.h"

namespace llava::training {

struct EvaluationRequest {
  std::string bench;
  BenchOptions files;
  std::string out;          // a folder for all that is written; empty: nothing is
  std::string answers;      // score this file of answers instead of asking
  std::string reviews;      // score this file of reviews, and nothing else
  std::string judge;        // a YAML file: endpoint, budget, temperature, max_tokens, both_orders
  std::string ensemble;     // ScienceQA: "complement" or "judge"
  std::string theirs;       // ScienceQA: the other model's answers
  std::string asked_again;  // ScienceQA: what it says to answers that differ, instead of asking it
  bool both_orders = false;
  bool as_published = false;
  bool dry_run = false;         // write what would be asked
  std::int64_t max_tokens = 0;  // of an answer; 0: the benchmark's
  bool scores_choices = false;  // see AskOptions
  std::string model_id;         // what the model is called in files
  std::string model;            // what identifies it
};

// Starts what answers, or connects to it: called once, and only when something is to be asked.
using StartModel = std::function<absl::StatusOr<EndpointOptions>()>;

// The report, whose table is for the user. The files in `out`: questions.jsonl, answers.jsonl,
// results.json, table.md, wrong.html, reviews.jsonl and judge_ledger.jsonl of a judge,
// model_ledger.jsonl of a model with a price or a budget, submission/ for a benchmark with a
// server. Errors name what is wrong; see Endpoint::Run for those of a service. UNAVAILABLE too: the
// judge has scored nothing.
absl::StatusOr<EvaluationReport> Evaluate(
    const EvaluationRequest& request, const StartModel& start_model, const Clock& clock,
    const std::function<void(const std::string&)>& on_progress, const std::atomic<bool>* stop);

// Answers by question from a file of the original's: JSON lines with question_id (and round_id), or
// ScienceQA's {"outputs": {id: text}}. Questions that it lacks have "". INVALID_ARGUMENT when it
// answers none.
absl::StatusOr<BenchAnswers> ReadAnswers(const std::string& file, const Benchmark& benchmark);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_ASKING_EVALUATION_H_
