#include "training/commands/plan_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status_macros.h"
#include "training/recipe/recipe.h"
#include "training/run/plan.h"

namespace llava::training {
namespace {

absl::StatusOr<RunPlan> Plan(const std::string& file) {
  ASSIGN_OR_RETURN(const Recipe recipe, ReadRecipe(file));
  const RealClock clock;
  return PlanRun(recipe, clock,
                 [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); });
}

int Run(const std::string& file) {
  const absl::StatusOr<RunPlan> plan = Plan(file);
  if (!plan.ok()) {
    std::fprintf(stderr, "llava-train plan: %s\n", std::string(plan.status().message()).c_str());
    return 2;
  }
  std::printf("%s", ToText(*plan).c_str());
  if (plan->disk_bytes <= plan->free_bytes) return 0;
  std::fprintf(stderr, "llava-train plan: the disk has too little room\n");
  return 1;
}

}  // namespace

void AddPlanCommand(CLI::App& app, int* exit_code) {
  auto recipe = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "plan", "Say what a run will need: steps, tokens, time, memory, disk (tries two batches)");
  command->add_option("recipe", *recipe, "The recipe's YAML file")->required();
  command->callback([recipe, exit_code] {
    const int code = Run(*recipe);
    if (code != 0) *exit_code = code;
  });
}

}  // namespace llava::training
