// `llava-train quantize CHECKPOINT --format int8|int4 --out DIR`.
#ifndef LLAVA_TRAINING_COMMANDS_QUANTIZE_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_QUANTIZE_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Adds the subcommand. It sets *exit_code to 1 when something went wrong, with one line on stderr.
void AddQuantizeCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_QUANTIZE_COMMAND_H_
