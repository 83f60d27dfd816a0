// `llava-train generate`: instruction data from captions and boxes through a language model; and
// `llava-train filter`: a balanced choice of captions.
#ifndef LLAVA_TRAINING_COMMANDS_GENERATE_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_GENERATE_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Run when `app` parses. *exit_code becomes 75 when the same command, run again, goes on; 2 on
// other errors.
void AddGenerateCommand(CLI::App& app, int* exit_code);
void AddFilterCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_GENERATE_COMMAND_H_
