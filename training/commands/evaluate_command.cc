#include "training/commands/evaluate_command.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/http/http_exchange.h"
#include "base/status_macros.h"
#include "training/commands/evaluate_options.h"
#include "training/commands/local_server.h"
#include "training/commands/record_evaluation.h"

namespace llava::training {
namespace {

constexpr int kBelow = 1;
constexpr int kFailed = 2;
constexpr int kInterrupted = 75;  // EX_TEMPFAIL: run it again and it goes on

std::atomic<bool> stop_requested = false;

void RequestStop(int /*signal*/) { stop_requested = true; }

absl::StatusOr<EvaluationReport> Run(EvaluateOptions& options) {
  if (!options.endpoint.empty()) {
    ASSIGN_OR_RETURN(options.through, LoadEndpoint(options.endpoint));
  }
  CompleteOptions(&options);
  EvaluationRequest& request = options.request;
  const bool remote = !options.through.base_url.empty();
  const bool asks = request.answers.empty() && request.reviews.empty() && !request.dry_run;
  if (asks && remote == !options.local.checkpoint.empty()) {
    return absl::InvalidArgumentError("expected either --checkpoint or --through (or --endpoint)");
  }
  if (remote) RETURN_IF_ERROR(ParseTarget(options.through.base_url).status());
  std::unique_ptr<LocalServer> server;
  const StartModel start = [&]() -> absl::StatusOr<EndpointOptions> {
    if (remote) return options.through;
    ASSIGN_OR_RETURN(server, LocalServer::Start(options.local));
    return server->endpoint();
  };
  const auto on_progress = [](const std::string& line) {
    std::fprintf(stderr, "%s\n", line.c_str());
  };
  std::signal(SIGTERM, RequestStop);
  std::signal(SIGINT, RequestStop);
  const RealClock clock;
  ASSIGN_OR_RETURN(EvaluationReport report,
                   Evaluate(request, start, clock, on_progress, &stop_requested));
  RETURN_IF_ERROR(DrawScores(options.local.checkpoint, request.out, report));
  if (!options.record.empty()) {
    ASSIGN_OR_RETURN(const std::string version,
                     RecordEvaluation(options.local.checkpoint, options.record, report));
    std::fprintf(stderr, "recorded in %s\n", version.c_str());
  }
  return report;
}

int ExitCode(EvaluateOptions& options) {
  const absl::StatusOr<EvaluationReport> report = Run(options);
  if (!report.ok()) {
    std::fprintf(stderr, "llava-train evaluate: %s\n",
                 std::string(report.status().message()).c_str());
    const bool again = absl::IsCancelled(report.status()) || absl::IsUnavailable(report.status());
    return again ? kInterrupted : kFailed;
  }
  std::printf("%s", ReportTable(*report).c_str());
  std::fflush(stdout);  // what is missed is the last line, also of a file of both
  const std::vector<std::string> missed = NotReached(options.require, report->scores);
  for (const std::string& text : missed) {
    std::fprintf(stderr, "llava-train evaluate: --require %s is not reached\n", text.c_str());
  }
  return missed.empty() ? 0 : kBelow;
}

}  // namespace

void AddEvaluateCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<EvaluateOptions>();
  CLI::App* command =
      app.add_subcommand("evaluate", "Ask a benchmark's questions and score the answers");
  AddEvaluateOptions(*command, options.get());
  const char* const endpoint = "--through a YAML file with endpoint and budget, as a judge's";
  command->add_option("--endpoint", options->endpoint, endpoint)->excludes("--through");
  command->callback([options, exit_code] {
    const int code = ExitCode(*options);
    if (code != 0) *exit_code = code;
  });
}

}  // namespace llava::training
