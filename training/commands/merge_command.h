// `llava-train merge CHECKPOINT --adapter DIR --out DIR`.
#ifndef LLAVA_TRAINING_COMMANDS_MERGE_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_MERGE_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Adds the subcommand. It sets *exit_code to 1 when something went wrong, with one line on stderr.
void AddMergeCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_MERGE_COMMAND_H_
