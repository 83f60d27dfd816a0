// What a gate asked and heard, as JSON for reports.
#ifndef LLAVA_TRAINING_EVALUATE_GATE_RECORD_H_
#define LLAVA_TRAINING_EVALUATE_GATE_RECORD_H_

#include <string>
#include <vector>

#include "training/evaluate/score.h"

namespace llava::training {

// An exam that two versions have taken, or the new one alone. All lists are as long as `items`.
struct ExamRecord {
  std::string name;  // "evaluate", "evaluate.guards[0]"
  std::vector<EvaluationItem> items;
  std::vector<std::string> answers;  // of the new version
  std::vector<bool> right;
  std::vector<std::string> live_answers;  // of the live one; empty: it was not asked
  std::vector<bool> live_right;
};

// {"rejected": why, "live": version, "exams": [{"name", "questions", "new": {"share", "low",
// "high", "kinds"}, "live": the same, "change": {"share", "low", "high"}, "changed": [{"question",
// "expected", "live", "new"}]}]}: shares of right answers with 95 % intervals, of `changed` the
// first eight, and what was not asked is left out.
std::string GateRecordJson(const std::string& rejected, const std::string& live,
                           const std::vector<ExamRecord>& exams);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_GATE_RECORD_H_
