#include "training/commands/plan_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/command_line/numbers.h"
#include "base/status_macros.h"
#include "server/torch/device_memory.h"
#include "training/recipe/recipe.h"
#include "training/run/device.h"
#include "training/run/plan.h"

namespace llava::training {
namespace {

void PrintLine(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

absl::StatusOr<RunPlan> Plan(const std::string& file) {
  ASSIGN_OR_RETURN(const Recipe recipe, ReadRecipe(file));
  return PlanRun(recipe, RealClock(), PrintLine);
}

int Run(const std::string& file) {
  const absl::StatusOr<RunPlan> plan = Plan(file);
  if (!plan.ok()) {
    PrintLine(absl::StrCat("llava-train plan: ", plan.status().message()));
    return 2;
  }
  std::printf("%s", ToText(*plan).c_str());
  if (plan->disk_bytes <= plan->free_bytes) return 0;
  PrintLine("llava-train plan: the disk has too little room");
  return 1;
}

// What the device of a recipe has on this machine.
absl::StatusOr<std::int64_t> OwnMemory(const Recipe& recipe) {
  const absl::StatusOr<at::Device> device = OpenDevice(recipe.device, 0);
  if (!device.ok()) return Annotate(device.status(), "give --device-memory");
  ASSIGN_OR_RETURN(const server::DeviceMemory memory, server::MemoryOfDevice(*device));
  return memory.total;
}

absl::StatusOr<MemoryTable> Describe(const std::vector<std::string>& recipes,
                                     MemoryQuestion question) {
  if (recipes.size() != 1) return absl::InvalidArgumentError("--memory is asked about one recipe");
  ASSIGN_OR_RETURN(const Recipe recipe, ReadRecipe(recipes.front()));
  if (question.device_bytes == 0) {
    ASSIGN_OR_RETURN(question.device_bytes, OwnMemory(recipe));
  }
  return DescribeMemory(recipe, question);
}

}  // namespace

int PrintMemory(const std::vector<std::string>& recipes, const MemoryArguments& arguments) {
  const absl::StatusOr<MemoryTable> table = Describe(recipes, arguments.question);
  if (!table.ok()) {
    PrintLine(absl::StrCat("llava-train check: ", table.status().message()));
    return 2;
  }
  std::printf("%s", arguments.json ? (ToJson(*table) + "\n").c_str() : ToText(*table).c_str());
  for (const std::string& sentence : table->advice) PrintLine("llava-train check: " + sentence);
  return table->fits() ? 0 : 1;
}

void AddMemoryOptions(CLI::App& command, MemoryArguments& arguments) {
  CLI::Option* memory = command.add_flag(
      "--memory", arguments.wanted,
      "Say what a recipe (in the place of the data) will hold in memory, and whether that fits");
  command
      .add_option("--device-memory", arguments.question.device_bytes,
                  "What a process has, as 80GiB (what this machine has)")
      ->transform(CLI::AsSizeValue(false))
      ->transform(NoMinus())
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 60))
      ->needs(memory);
  command.add_option("--ranks", arguments.question.ranks, "Processes of the run")
      ->check(CLI::Range(1, 1 << 16))
      ->needs(memory);
  command
      .add_option("--row-tokens", arguments.question.row_tokens,
                  "Tokens of the longest row (the recipe's data.max_length)")
      ->check(Positive())
      ->needs(memory);
  command.add_flag("--json", arguments.json, "The memory as JSON")->needs(memory);
}

void AddPlanCommand(CLI::App& app, int* exit_code) {
  auto recipe = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "plan", "Say what a run will need: steps, tokens, time, memory, disk (tries two batches)");
  command->add_option("recipe", *recipe, "The recipe's YAML file")->required();
  command->callback([recipe, exit_code] {
    if (const int code = Run(*recipe); code != 0) *exit_code = code;
  });
}

}  // namespace llava::training
