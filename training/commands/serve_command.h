// `llava-train serve`: the training service as a daemon.
#ifndef LLAVA_TRAINING_COMMANDS_SERVE_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_SERVE_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Serves until SIGTERM or SIGINT. *exit_code becomes 1 when it cannot start.
void AddServeCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_SERVE_COMMAND_H_
