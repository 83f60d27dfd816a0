// What a run's folder knows of what others are told of it: `tracking/mlflow.json` holds what there
// is to say, `tracking/sent.json` what the server has taken. The metrics are not in them: they are
// in metrics.jsonl, which is complete and has each step once.
#ifndef LLAVA_TRAINING_TRACKING_RUN_RECORD_H_
#define LLAVA_TRAINING_TRACKING_RUN_RECORD_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "training/tracking/mlflow_options.h"

namespace llava::training {

using NamedValues = std::vector<std::pair<std::string, std::string>>;

// MLflow's words for how a run stands.
inline constexpr char kRunning[] = "RUNNING";
inline constexpr char kFinished[] = "FINISHED";
inline constexpr char kFailed[] = "FAILED";
inline constexpr char kKilled[] = "KILLED";

// Written by the process that trains.
struct RunRecord {
  MlflowOptions options;
  std::string key;     // nobody else's: the server's run is found by it
  NamedValues params;  // within MLflow's bounds
  std::map<std::string, std::string> tags;
  std::string status = kRunning;
  std::int64_t started = 0;  // milliseconds since 1970
  std::int64_t ended = 0;    // 0 while it runs
};

// Written by who tells the server.
struct SentRecord {
  std::string uri, experiment, key;  // to whom it belongs; of others nothing is known
  std::string run_id;                // "": the server knows of no run
  std::set<std::string> params;      // their names
  std::map<std::string, std::string> tags;
  std::string status;
  std::int64_t step = 0;        // total_step of the last line of a step
  std::int64_t validation = 0;  // of a validation
};

// Where the records of the run in `folder` are.
std::string TrackingFolder(const std::string& folder);

// Settings as parameters of MLflow: at most 1000 of them, names of at most 250 characters out of
// those that it allows ("stages.0.rate" for "stages[0].rate"), values of at most 500 bytes.
NamedValues ToParams(const NamedValues& settings);

// A value of a tag: at most 5000 bytes of UTF-8.
std::string ToTag(const std::string& value);

// The record of before, with these options, or a new one for a run that begins in `folder`. The
// error of one that does not read.
absl::StatusOr<RunRecord> OpenRecord(const std::string& folder, const MlflowOptions& options,
                                     const Clock& clock);

// NOT_FOUND without one; DATA_LOSS: it does not read.
absl::StatusOr<RunRecord> ReadRunRecord(const std::string& folder);
absl::StatusOr<SentRecord> ReadSentRecord(const std::string& folder);

// All or nothing; makes the folder of the records.
absl::Status WriteRunRecord(const RunRecord& record, const std::string& folder);
absl::Status WriteSentRecord(const SentRecord& record, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_TRACKING_RUN_RECORD_H_
