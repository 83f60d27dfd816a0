// llava-train run RECIPE: trains to the end, going on from the newest saved state; llava-train
// track RUN_DIR: tells a tracking server what it does not know of a run.
#ifndef LLAVA_TRAINING_COMMANDS_RUN_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_RUN_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

void AddRunCommand(CLI::App& app, int* exit_code);
void AddTrackCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_RUN_COMMAND_H_
