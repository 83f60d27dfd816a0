#include "training/commands/run_command.h"

#include <unistd.h>

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

// One line that is written over: for a person at a terminal.
void PrintBar(const StepReport& report) {
  constexpr int kWidth = 24;
  const auto filled = static_cast<int>(kWidth * report.step / report.stage_steps);
  const auto minutes = static_cast<long long>(report.seconds_left / 60.0);
  std::printf("\r%s [%s%s] %lld/%lld  loss %.4f  right %.1f %%  %.0f tokens/s  %lld min left  ",
              report.stage.c_str(), std::string(filled, '#').c_str(),
              std::string(kWidth - filled, '.').c_str(), static_cast<long long>(report.step),
              static_cast<long long>(report.stage_steps), report.loss, 100.0 * report.accuracy,
              report.seconds > 0 ? static_cast<double>(report.stats.tokens) / report.seconds : 0.0,
              minutes);
  if (report.step == report.stage_steps) std::printf("\n");
  std::fflush(stdout);
}

void PrintLine(const StepReport& report) {
  std::printf("%s\n", ToJson(report).c_str());
  std::fflush(stdout);
}

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
  options.on_step = isatty(STDOUT_FILENO) ? PrintBar : PrintLine;
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
