#include "training/commands/generate_command.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status_macros.h"
#include "training/generate/generate.h"
#include "training/generate/generate_plan.h"

namespace llava::training {
namespace {

constexpr int kFailed = 2;
constexpr int kInterrupted = 75;  // EX_TEMPFAIL: run it again and it goes on
constexpr double kManyUntrue = 0.05;

struct Arguments {
  std::string plan;
  bool dry_run = false;
};

std::atomic<bool> stop_requested = false;

void RequestStop(int /*signal*/) { stop_requested = true; }

absl::Status Run(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const GeneratePlan plan, ReadGeneratePlan(arguments.plan));
  if (arguments.dry_run) {
    ASSIGN_OR_RETURN(const std::string text, DryRun(plan));
    std::printf("%s", text.c_str());
    return absl::OkStatus();
  }
  std::signal(SIGTERM, RequestStop);
  std::signal(SIGINT, RequestStop);
  const RealClock clock;
  const auto on_progress = [](const std::string& line) {
    std::fprintf(stderr, "%s\n", line.c_str());
  };
  absl::Status ended;
  ASSIGN_OR_RETURN(const GenerateReport report,
                   Generate(plan, clock, on_progress, &stop_requested, &ended));
  std::printf("%s", ToText(report).c_str());
  if (static_cast<double>(report.untrue) > kManyUntrue * static_cast<double>(report.asked)) {
    std::fprintf(stderr, "llava-train generate: %lld of %lld first answers say what is not so\n",
                 static_cast<long long>(report.untrue), static_cast<long long>(report.asked));
  }
  return ended;
}

}  // namespace

void AddGenerateCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "generate", "Make instruction data from captions and boxes with a language model");
  command->add_option("plan", arguments->plan, "The plan's YAML file")->required();
  command->add_flag(
      "--dry-run", arguments->dry_run,
      "Ask nothing: write prompts.jsonl, print three prompts and what all would cost");
  command->callback([arguments, exit_code] {
    const absl::Status status = Run(*arguments);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train generate: %s\n", std::string(status.message()).c_str());
    const bool again = absl::IsCancelled(status) || absl::IsUnavailable(status);
    *exit_code = again ? kInterrupted : kFailed;
  });
}

}  // namespace llava::training
