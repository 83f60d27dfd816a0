// What a run will need, before it is started: llava-train plan RECIPE tries two batches and says
// parameters, steps, tokens, time, memory and disk; llava-train check --memory RECIPE computes the
// memory alone.
#ifndef LLAVA_TRAINING_COMMANDS_PLAN_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_PLAN_COMMAND_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "training/memory/memory_table.h"

namespace llava::training {

void AddPlanCommand(CLI::App& app, int* exit_code);

struct MemoryArguments {
  bool wanted = false;
  bool json = false;
  MemoryQuestion question;  // device_bytes 0: what this machine has
};

// --memory and what goes with it.
void AddMemoryOptions(CLI::App& command, MemoryArguments& arguments);

// Of one recipe; the exit code: 1 when it does not fit, 2 when it cannot be read.
int PrintMemory(const std::vector<std::string>& recipes, const MemoryArguments& arguments);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_PLAN_COMMAND_H_
