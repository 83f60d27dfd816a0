// The command line of `llava-train evaluate`.
#ifndef LLAVA_TRAINING_COMMANDS_EVALUATE_OPTIONS_H_
#define LLAVA_TRAINING_COMMANDS_EVALUATE_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "training/commands/local_server.h"
#include "training/endpoint/endpoint_options.h"
#include "training/evaluate/asking/evaluation.h"

namespace llava::training {

struct EvaluateOptions {
  EvaluationRequest request;
  LocalModel local;
  EndpointOptions through;           // base_url is empty without a server
  std::string endpoint;              // a YAML file with `through`, instead of options
  std::vector<std::string> require;  // "colour=0.95"
  std::string record;                // the folder of versions to publish in
};

// Fills in `options`, which outlives the parsing.
void AddEvaluateOptions(CLI::App& command, EvaluateOptions* options);

// After parsing: what follows from what was given. `evaluate CHECKPOINT --data ROWS`, without a
// benchmark, is the benchmark `rows`.
void CompleteOptions(EvaluateOptions* options);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_EVALUATE_OPTIONS_H_
