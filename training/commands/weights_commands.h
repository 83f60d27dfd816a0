// Sums of weights: `llava-train merge CHECKPOINT --adapter DIR --out DIR`, and
// `llava-train delta make BASE TARGET --out DIR`, `llava-train delta apply BASE DELTA --out DIR`.
#ifndef LLAVA_TRAINING_COMMANDS_WEIGHTS_COMMANDS_H_
#define LLAVA_TRAINING_COMMANDS_WEIGHTS_COMMANDS_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Each adds a subcommand that sets *exit_code to 1 when something went wrong, with one line on
// stderr.
void AddDeltaCommand(CLI::App& app, int* exit_code);
void AddMergeCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_WEIGHTS_COMMANDS_H_
