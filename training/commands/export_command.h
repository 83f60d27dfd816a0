// llava-train export RECIPE: the newest saved state of a run, also of one that goes on, as a
// checkpoint.
#ifndef LLAVA_TRAINING_COMMANDS_EXPORT_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_EXPORT_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

void AddExportCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_EXPORT_COMMAND_H_
