// What metrics.jsonl of a run says, read again: steps and validations in order.
#ifndef LLAVA_TRAINING_REPORT_RUN_HISTORY_H_
#define LLAVA_TRAINING_REPORT_RUN_HISTORY_H_

#include <map>
#include <string>
#include <vector>

namespace llava::training {

// A line, or nothing of it that is missing there.
struct HistoryPoint {
  std::string stage;
  double step = 0.0;                     // over all stages
  std::map<std::string, double> values;  // "loss", "grad_norm", ... all that are numbers
};

// A question that the model was asked at a validation.
struct HistorySample {
  std::vector<std::string> images;  // paths
  std::string question;
  std::string expected;
  std::string answer;
  bool right = false;
};

struct RunHistory {
  std::vector<HistoryPoint> steps;
  std::vector<HistoryPoint> validations;
  std::vector<HistorySample> samples;  // of the last validation that has any
  std::string samples_stage;
  double samples_step = 0.0;
};

// Lines that were cut short or are something else are passed over. Empty without a file.
RunHistory ReadRunHistory(const std::string& metrics_file);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_REPORT_RUN_HISTORY_H_
