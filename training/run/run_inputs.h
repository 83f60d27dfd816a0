// What a run is made of, each input by name and digest. Written into the run's folder before the
// first step and compared whenever the run goes on: a version's manifest says what is in this
// record, never what happens to lie at the same paths later.
#ifndef LLAVA_TRAINING_RUN_RUN_INPUTS_H_
#define LLAVA_TRAINING_RUN_RUN_INPUTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "training/recipe/recipe.h"

namespace llava::training {

// The numbers stand in files: never change one.
enum class InputKind {
  kModel = 1,       // a file of the folder that the weights come from
  kRecipe = 2,      // a value of the recipe, precision among them
  kData = 3,        // a file of rows or labels
  kCode = 4,        // version of this program and of LibTorch
  kEvaluation = 5,  // what is published depends on it, the weights do not
};

struct RunInput {
  InputKind kind = InputKind::kModel;
  std::int64_t stage = 0;  // the first that depends on it
  std::string name;        // a path, "stages[0].rate"
  std::string value;       // SHA-256 of a file's bytes, in hex; or the value itself

  bool operator==(const RunInput&) const = default;
};

struct RunInputs {
  std::string model;             // the folder that the weights come from, links resolved
  std::string parent;            // its version; "" when it was never published
  std::string data_fingerprint;  // see DataFingerprint
  // Fingerprints of data that steps were trained on before somebody accepted that it had changed.
  std::vector<std::string> earlier_data;
  std::vector<RunInput> inputs;

  bool operator==(const RunInputs&) const = default;
};

struct InputChange {
  InputKind kind;
  std::string text;  // "/data/rows.json: SHA-256 was 12..., is 34..."
};

// Reads all files that `recipe` names. `recipe.model` is taken as it is: who pins a link resolves
// it before. NOT_FOUND and so on: the error of a file that cannot be read, which names it.
absl::StatusOr<RunInputs> DescribeInputs(const Recipe& recipe);

// The digest of the bytes of the recipe's data files in order, each once; of the description of the
// scenes where it draws them. Hex.
absl::StatusOr<std::string> DataFingerprint(const Recipe& recipe);

// What differs of what the first `stages` stages depend on, in the order of `now`, then what is
// there no longer. The pictures are not among it (training/data/picture_record.h).
std::vector<InputChange> Changes(const RunInputs& was, const RunInputs& now, std::int64_t stages);

// What a manifest says of the data: its fingerprint, or when there was earlier data, a digest of
// all of them, so that nobody believes that a version was trained on one of them alone.
std::string TrainedDataFingerprint(const RunInputs& inputs);

// The record `folder`/inputs.json. NOT_FOUND without one; DATA_LOSS: it does not read.
absl::StatusOr<RunInputs> ReadRunInputs(const std::string& folder);
absl::Status WriteRunInputs(const RunInputs& inputs, const std::string& folder);

// How a run ended, `folder`/finished.json.
struct FinishedRun {
  std::string version;   // that was published
  std::string dir;       // its folder
  std::string rejected;  // why `latest` was not moved to it; "" when it was

  bool operator==(const FinishedRun&) const = default;
};

absl::StatusOr<FinishedRun> ReadFinishedRun(const std::string& folder);

// From then on there is no publishing.json.
absl::Status WriteFinishedRun(const FinishedRun& finished, const std::string& folder);

// How it will have ended once servers see the version, `folder`/publishing.json: written before
// they do, so that a run that is killed between the two knows what it has published.
absl::StatusOr<FinishedRun> ReadPublishingRun(const std::string& folder);
absl::Status WritePublishingRun(const FinishedRun& coming, const std::string& folder);

// The run has not ended: its version will be judged and published anew.
absl::Status ForgetFinishedRun(const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_RUN_INPUTS_H_
