// `llava-train check`: says what is wrong with instruction data, before training finds out; with
// --memory what a recipe will hold in memory.
#ifndef LLAVA_TRAINING_COMMANDS_CHECK_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_CHECK_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Runs when `app` parses. *exit_code becomes 1 when more rows are bad than allowed, or when the
// memory does not fit, 2 when data or recipe cannot be read.
void AddCheckCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_CHECK_COMMAND_H_
