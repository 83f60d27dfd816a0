// llava-train assemble: a LLaVA from a language model and a vision tower.
#ifndef LLAVA_TRAINING_COMMANDS_ASSEMBLE_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_ASSEMBLE_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

void AddAssembleCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_ASSEMBLE_COMMAND_H_
