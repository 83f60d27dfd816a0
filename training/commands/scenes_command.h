// `llava-train scenes`: draws synthetic images with their captions, questions and patch labels.
#ifndef LLAVA_TRAINING_COMMANDS_SCENES_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_SCENES_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Runs when `app` parses; *exit_code is left alone on success.
void AddScenesCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_SCENES_COMMAND_H_
