// What one training step tells: to the log, the metrics and the images.
#ifndef LLAVA_TRAINING_OPTIM_STEP_REPORT_H_
#define LLAVA_TRAINING_OPTIM_STEP_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "training/data/collator.h"

namespace llava::training {

struct StepReport {
  std::string stage;
  std::int64_t step = 0;          // within the stage, counted from 1
  std::int64_t stage_steps = 0;   // of the stage
  std::int64_t total_step = 0;    // over all stages, counted from 1
  double loss = 0.0;              // mean over the label tokens of the global batch
  double accuracy = 0.0;          // share of label tokens that were the most likely choice
  double gradient_norm = 0.0;     // before clipping
  double rate = 0.0;              // of the first parameter group
  double seconds = 0.0;           // this step took
  double waited_seconds = 0.0;    // of them, for data that was not ready
  double seconds_left = 0.0;      // of this stage, at the pace so far
  std::int64_t memory_bytes = 0;  // resident, of this process
  std::int64_t unix_millis = 0;   // when it had ended
  std::int64_t targets = 0;       // label tokens of the global batch
  BatchStats stats;               // of the global batch

  double tokens_per_second() const { return Per(stats.tokens, seconds); }
  double samples_per_second() const { return Per(stats.samples, seconds); }
  // Of the tokens and the positions that attention fills up; batches have no other padding.
  double padding_share() const {
    return Per(stats.padding, static_cast<double>(stats.padding + stats.tokens));
  }
  double data_wait_share() const { return seconds > 0 ? waited_seconds / seconds : 0.0; }

 private:
  static double Per(std::int64_t count, double whole) {
    return whole > 0 ? static_cast<double>(count) / whole : 0.0;
  }
};

// What the model says to a question that it is not trained with.
struct SampleAnswer {
  std::vector<std::string> images;  // paths of files
  std::string question;
  std::string expected;
  std::string answer;
  bool right = false;

  bool operator==(const SampleAnswer&) const = default;
};

// How a stage does on the rows that are held back.
struct ValidationReport {
  std::string stage;
  std::int64_t step = 0;        // within the stage, after which it was
  std::int64_t total_step = 0;  // over all stages
  double loss = 0.0;            // mean over the label tokens
  double accuracy = 0.0;        // share of label tokens that were the most likely choice
  std::int64_t rows = 0;
  std::int64_t targets = 0;
  bool best = false;             // less loss than at any validation of the stage before
  std::int64_t since = 0;        // validations since the best one
  double seconds = 0.0;          // it took, without the samples
  std::int64_t unix_millis = 0;  // when it had ended
  std::vector<SampleAnswer> samples;
};

// One JSON object without a line break. Numbers that a resumed run repeats exactly (loss, accuracy,
// norm, rate) are printed with all their digits.
std::string ToJson(const StepReport& report);
std::string ToJson(const ValidationReport& report);

// Resident memory of this process, or 0 where the system does not say.
std::int64_t ResidentBytes();

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OPTIM_STEP_REPORT_H_
