#include "training/commands/run_command.h"

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>

#include "base/clock.h"
#include "training/run/recipe.h"
#include "training/run/run.h"
#include "training/run/step_report.h"

namespace llava::training {
namespace {

constexpr int kInterrupted = 75;  // EX_TEMPFAIL: run it again and it goes on

volatile std::sig_atomic_t stop_requested = 0;

void RequestStop(int /*signal*/) { stop_requested = 1; }

int Run(const std::string& recipe_file) {
  const auto fail = [](const absl::Status& status) {
    std::fprintf(stderr, "llava-train run: %s\n", std::string(status.message()).c_str());
    return 1;
  };
  const absl::StatusOr<Recipe> recipe = ReadRecipe(recipe_file);
  if (!recipe.ok()) return fail(recipe.status());
  std::signal(SIGTERM, RequestStop);
  std::signal(SIGINT, RequestStop);
  RunOptions options;
  options.on_step = [](const StepReport& report) {
    std::printf("%s\n", ToJson(report).c_str());
    std::fflush(stdout);
  };
  options.on_message = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  options.stop = [] { return stop_requested != 0; };
  const RealClock clock;
  const absl::Status status = RunRecipe(*recipe, clock, options);
  if (absl::IsCancelled(status)) {
    std::fprintf(stderr, "llava-train run: stopped and saved; run it again to go on\n");
    return kInterrupted;
  }
  return status.ok() ? 0 : fail(status);
}

}  // namespace

void AddRunCommand(CLI::App& app, int* exit_code) {
  auto recipe = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("run", "Train a recipe, from where it was interrupted to its end");
  command->add_option("recipe", *recipe, "The recipe's YAML file")->required();
  command->callback([recipe, exit_code] {
    const int code = Run(*recipe);
    if (code != 0) *exit_code = code;
  });
}

}  // namespace llava::training
