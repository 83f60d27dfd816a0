#include "training/commands/run_command.h"

#include <prometheus/registry.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "training/commands/expose.h"
#include "training/distributed/rank_place.h"
#include "training/optim/step_report.h"
#include "training/recipe/recipe.h"
#include "training/run/run.h"
#include "training/run/run_inputs.h"
#include "training/run/run_lock.h"
#include "training/run/run_metrics.h"
#include "training/tracking/run_record.h"
#include "training/tracking/tracker.h"

namespace llava::training {
namespace {

constexpr int kInterrupted = 75;  // EX_TEMPFAIL: run it again and it goes on

constexpr int kRejected = 3;  // trained and kept, but not good enough to become the latest

volatile std::sig_atomic_t stop_requested = 0;
volatile std::sig_atomic_t is_critical = 0;

// What was written so far is found by the next run.
void EndNow() {
  constexpr char kText[] = "llava-train run: stopped; run it again to go on\n";
  const ssize_t ignored = ::write(STDERR_FILENO, kText, sizeof(kText) - 1);
  static_cast<void>(ignored);
  ::_exit(kInterrupted);
}

// Where nothing is critical, nothing is lost.
void RequestStop(int /*signal*/) {
  stop_requested = 1;
  if (is_critical == 0) EndNow();
}

// One line that is written over: for a person at a terminal.
void PrintBar(const StepReport& report) {
  constexpr int kWidth = 24;
  const auto filled = static_cast<int>(kWidth * report.step / report.stage_steps);
  const auto minutes = static_cast<long long>(report.seconds_left / 60.0);
  std::printf("\r%s [%s%s] %lld/%lld  loss %.4f  right %.1f %%  %.0f tokens/s  %lld min left  ",
              report.stage.c_str(), std::string(filled, '#').c_str(),
              std::string(kWidth - filled, '.').c_str(), static_cast<long long>(report.step),
              static_cast<long long>(report.stage_steps), report.loss, 100.0 * report.accuracy,
              report.tokens_per_second(), minutes);
  if (report.step == report.stage_steps) std::printf("\n");
  std::fflush(stdout);
}

void PrintValidation(const ValidationReport& report) {
  std::printf("\r\033[K%s, step %lld: validation loss %.4f, right %.1f %%%s\n",
              report.stage.c_str(), static_cast<long long>(report.step), report.loss,
              100.0 * report.accuracy, report.best ? ", the best so far" : "");
  std::fflush(stdout);
}

template <typename Report>
void PrintLine(const Report& report) {
  std::printf("%s\n", ToJson(report).c_str());
  std::fflush(stdout);
}

struct Arguments {
  std::string recipe;
  std::string metrics;  // HOST:PORT, or nothing
  bool accept_changed_data = false;
  bool accept_changed_code = false;
  RunUntil until = RunUntil::kPublished;
  std::string rejected;
};

absl::StatusOr<FinishedRun> Run(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Recipe recipe, ReadRecipe(arguments.recipe));
  const auto registry = std::make_shared<prometheus::Registry>();
  RunMetrics metrics(registry.get());
  std::unique_ptr<prometheus::Exposer> exposer;
  if (!arguments.metrics.empty()) {
    ASSIGN_OR_RETURN(exposer, Expose(arguments.metrics, registry));
    std::fprintf(stderr, "metrics at port %d\n", exposer->GetListeningPorts().front());
  }
  std::signal(SIGTERM, RequestStop);
  std::signal(SIGINT, RequestStop);
  // A terminal that goes away, unless nohup has said that this is nothing.
  if (std::signal(SIGHUP, RequestStop) == SIG_IGN) std::signal(SIGHUP, SIG_IGN);
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  RunOptions options;
  ASSIGN_OR_RETURN(options.place,
                   ReadRankPlace([](const char* name) { return std::getenv(name); }));
  options.on_step = [&metrics, terminal](const StepReport& report) {
    metrics.Add(report);
    terminal ? PrintBar(report) : PrintLine(report);
  };
  options.on_validation = [&metrics, terminal](const ValidationReport& report) {
    metrics.Add(report);
    terminal ? PrintValidation(report) : PrintLine(report);
  };
  const std::string before =
      absl::StrCat(terminal ? "\r\033[K" : "",  // over the bar
                   options.place.size > 1 ? absl::StrCat("rank ", options.place.rank, ": ") : "");
  options.on_message = [before](const std::string& line) {
    std::fprintf(stderr, "%s%s\n", before.c_str(), line.c_str());
  };
  options.stop = [] { return stop_requested != 0; };
  options.until = arguments.until;
  options.rejected = arguments.rejected;
  const RealClock clock;
  options.accept_changed_data = arguments.accept_changed_data;
  options.accept_changed_code = arguments.accept_changed_code;
  options.on_critical = [](bool begin) {
    is_critical = begin ? 1 : 0;
    if (!begin && stop_requested != 0) EndNow();  // asked for while a stage's end was saved
  };
  return RunRecipe(recipe, clock, options);
}

int ExitCode(const absl::StatusOr<FinishedRun>& finished) {
  if (finished.ok()) return finished->rejected.empty() ? 0 : kRejected;
  const absl::Status& status = finished.status();
  if (absl::IsCancelled(status)) {
    std::fprintf(stderr, "llava-train run: stopped and saved; run it again to go on\n");
    return kInterrupted;
  }
  std::fprintf(stderr, "llava-train run: %s\n", std::string(status.message()).c_str());
  return 1;
}

absl::Status Track(const std::string& folder) {
  RETURN_IF_ERROR(ReadRunRecord(folder).status());
  // Who trains tells of it too.
  ASSIGN_OR_RETURN(const RunLock lock, RunLock::Take(TrackingFolder(folder)));
  const char* const ended = ReadFinishedRun(folder).ok() ? kFinished : kKilled;
  RETURN_IF_ERROR(TellTheRest(folder, ended, RealClock(), [](const std::string& line) {
    std::fprintf(stderr, "%s\n", line.c_str());
  }));
  std::printf("the server knows all of this run\n");
  return absl::OkStatus();
}

}  // namespace

void AddTrackCommand(CLI::App& app, int* exit_code) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "track", "Tell the MLflow server of a run what it could not be told while it was trained");
  command->add_option("run", *folder, "The run's folder, which has a folder tracking")->required();
  command->callback([folder, exit_code] {
    const absl::Status told = Track(*folder);
    if (told.ok()) return;
    std::fprintf(stderr, "llava-train track: %s\n", MessageOf(told).c_str());
    *exit_code = absl::IsUnavailable(told) ? kInterrupted : 1;
  });
}

void AddRunCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("run", "Train a recipe, from where it was interrupted to its end");
  command->add_option("recipe", arguments->recipe, "The recipe's YAML file")->required();
  command->add_option("--metrics", arguments->metrics,
                      "Serve Prometheus metrics at this HOST:PORT (port 0: any)");
  command->add_flag("--accept-changed-data", arguments->accept_changed_data,
                    "Go on although rows or pictures have changed since the run was stopped");
  command->add_flag("--accept-changed-code", arguments->accept_changed_code,
                    "Go on although this is another version of llava-train or LibTorch");
  command
      ->add_option(
          "--until", arguments->until,
          "End before the version is published: train (the last step is saved) or evaluate "
          "(the gate has decided, in output/gate.json); run again it goes on")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, RunUntil>{{"train", RunUntil::kTrained},
                                          {"evaluate", RunUntil::kEvaluated},
                                          {"publish", RunUntil::kPublished}}));
  command->add_option("--rejected", arguments->rejected,
                      "Publish the version as a rejected one, for this reason, whatever its gate "
                      "says: a verdict that was given before stands");
  command->callback([arguments, exit_code] {
    const int code = ExitCode(Run(*arguments));
    if (code != 0) *exit_code = code;
  });
}

}  // namespace llava::training
