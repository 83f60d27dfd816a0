// llava-train run RECIPE: trains to the end, going on from the newest saved state.
#ifndef LLAVA_TRAINING_COMMANDS_RUN_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_RUN_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

void AddRunCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_RUN_COMMAND_H_
