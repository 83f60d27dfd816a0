// llava-train convert CHECKPOINT --out FOLDER: from the original layout to the Hugging Face one,
// which training needs; with --to original back.
#ifndef LLAVA_TRAINING_COMMANDS_CONVERT_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_CONVERT_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

void AddConvertCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_CONVERT_COMMAND_H_
