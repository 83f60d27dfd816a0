// `llava-train evaluate`: how many answers of a checkpoint are right, by kind of question.
#ifndef LLAVA_TRAINING_COMMANDS_EVALUATE_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_EVALUATE_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Runs when `app` parses. *exit_code becomes 1 when a kind falls below --require, 2 when something
// cannot be read.
void AddEvaluateCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_EVALUATE_COMMAND_H_
