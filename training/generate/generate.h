// Instruction data out of captions and boxes: asks a language model, reads, judges and assembles.
#ifndef LLAVA_TRAINING_GENERATE_GENERATE_H_
#define LLAVA_TRAINING_GENERATE_GENERATE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "training/endpoint/budget.h"
#include "training/generate/generate_plan.h"

namespace llava::training {

struct GenerateReport {
  std::int64_t pictures = 0;
  std::int64_t asked = 0;                           // items: a picture and a kind
  std::map<std::string, std::int64_t> accepted;     // by kind
  std::map<std::string, std::int64_t> rejected;     // by reason, after the second attempt
  std::map<std::string, std::int64_t> first_tries;  // by reason, of those that were asked again
  std::map<std::string, std::int64_t> mended;       // by what was tolerated
  std::int64_t unanswered = 0;
  std::int64_t held_out = 0;  // rows
  std::int64_t untrue = 0;    // scenes: first answers that say what is not so
  TokenCount spent;
  double cost = 0;
};

// For a person, several lines.
std::string ToText(const GenerateReport& report);

// Writes into plan.output: ledger.jsonl while it runs (what it has is not asked again), and at the
// end instruct.jsonl and held_out.jsonl (LLaVA rows, with `provenance`), rejects.jsonl (with
// reasons), report.json. The same files for the same ledger, whatever the order of the answers.
// Errors: FAILED_PRECONDITION when the folder belongs to another plan; those of Endpoint::Run;
// RESOURCE_EXHAUSTED after all files were written from what the budget allowed.
absl::StatusOr<GenerateReport> Generate(const GeneratePlan& plan, const Clock& clock,
                                        const std::function<void(const std::string&)>& on_progress,
                                        const std::atomic<bool>* stop, absl::Status* ended);

// Asks nothing: writes prompts.jsonl, and returns what a run would ask and cost, for a person.
absl::StatusOr<std::string> DryRun(const GeneratePlan& plan);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_GENERATE_GENERATE_H_
