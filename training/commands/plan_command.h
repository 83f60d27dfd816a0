// llava-train plan RECIPE: parameters, steps, tokens, time, memory and disk of a run, before it is
// started.
#ifndef LLAVA_TRAINING_COMMANDS_PLAN_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_PLAN_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

void AddPlanCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_PLAN_COMMAND_H_
