// llava-train pin, unpin and canary: about one published version.
#ifndef LLAVA_TRAINING_COMMANDS_VERSION_COMMANDS_H_
#define LLAVA_TRAINING_COMMANDS_VERSION_COMMANDS_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Exit codes: 0; 1 no published version there.
void AddPinCommands(CLI::App& app, int* exit_code);

// Exit codes: 0 it is live; 1 the server does not take it, or refuses to say; 3 it was rolled back,
// and the last line says why; 75 there is no verdict yet.
void AddCanaryCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_VERSION_COMMANDS_H_
