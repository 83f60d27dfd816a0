// ScienceQA: problems.json, pid_splits.json and images/SPLIT/ID/image.png.
#ifndef LLAVA_TRAINING_EVALUATE_BENCHMARKS_SCIENCE_QA_H_
#define LLAVA_TRAINING_EVALUATE_BENCHMARKS_SCIENCE_QA_H_

#include <boost/json/object.hpp>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/evaluate/benchmarks/benchmark.h"

namespace llava::training {

absl::StatusOr<Benchmark> OpenScienceQa(const BenchOptions& options);

// The question as scripts/convert_sqa_to_llava.py writes it, for formats that begin with CQM or QCM
// (QCM-LEA), without "<image>". INVALID_ARGUMENT: another format, or a problem that lacks
// something.
absl::StatusOr<std::string> ScienceQaPrompt(const boost::json::object& problem,
                                            const std::string& format);

// The groups of the paper's table: NAT, SOC or LAN; TXT and IMG, or NO; G1-6 or G7-12.
std::vector<std::string> ScienceQaKinds(const boost::json::object& problem);

// How two models' answers become one. "complement": theirs, and ours where they have none. "judge":
// where the two differ, what they say after they have seen both (`asked_again`, by question id),
// and ours where that is nothing. Nothing is drawn at random, as the original does.
struct ScienceQaEnsemble {
  std::map<std::string, std::string> theirs;       // texts by question id
  std::map<std::string, std::string> asked_again;  // likewise
  bool judge = false;
};

// "A" to "E", "" when there is no answer.
std::string EnsembleAnswer(const ScienceQaEnsemble& ensemble, const std::string& id,
                           const std::string& ours, int choices);

// What the judge is asked about a problem whose answers differ.
std::string AskAgainPrompt(const std::string& question, const std::string& ours,
                           const std::string& theirs);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_BENCHMARKS_SCIENCE_QA_H_
