// Which MLflow server is told of a run.
#ifndef LLAVA_TRAINING_TRACKING_MLFLOW_OPTIONS_H_
#define LLAVA_TRAINING_TRACKING_MLFLOW_OPTIONS_H_

#include <string>

#include "absl/status/statusor.h"
#include "base/strict_yaml.h"

namespace llava::training {

struct MlflowOptions {
  std::string uri{};         // "https://mlflow.example.com", perhaps with a path; "": none
  std::string experiment{};  // made where there is none of this name
  std::string run_name{};    // "": that of the recipe
  std::string token_file{};  // "": the variable MLFLOW_TRACKING_TOKEN, or no token
  bool allow_plain = false;  // http: to a public address too

  bool wanted() const { return !uri.empty(); }
};

// The keys of a mapping `mlflow`, named as the members above. Mistakes stick to `yaml`; none has a
// word of the URI, which may hold a secret.
void ReadMlflow(StrictYaml& yaml, MlflowOptions* options);

// The token, or "" when there is none. The errors of LoadApiKey
// (training/endpoint/endpoint_options.h).
absl::StatusOr<std::string> LoadMlflowToken(const MlflowOptions& options);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_TRACKING_MLFLOW_OPTIONS_H_
