// llava-train pin, llava-train unpin.
#ifndef LLAVA_TRAINING_COMMANDS_PIN_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_PIN_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Exit codes: 0; 1 no published version there.
void AddPinCommands(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_PIN_COMMAND_H_
