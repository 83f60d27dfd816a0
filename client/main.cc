// llava: the light client of llavad.
#include <CLI/CLI.hpp>

#include "base/command_line/command_line.h"
#include "base/command_line/version.h"
#include "client/batch_command.h"
#include "client/bench_command.h"
#include "client/chat_command.h"
#include "client/exit_code.h"
#include "client/health_command.h"
#include "client/jobs_command.h"
#include "client/models_command.h"
#include "client/replay_command.h"

int main(int argc, char** argv) {
  CLI::App app("Client of llavad", "llava");
  app.set_version_flag("--version", llava::VersionText());
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 1 the request was wrong, 2 the server failed or is too busy, 3 the server "
      "cannot be reached, 130 stopped by Ctrl-C.");
  llava::DescribeItself(&app);
  int exit_code = llava::client::kOk;
  llava::client::AddChatCommand(&app, &exit_code);
  llava::client::AddBatchCommand(&app, &exit_code);
  llava::client::AddBenchCommand(&app, &exit_code);
  llava::client::AddHealthCommand(&app, &exit_code);
  llava::client::AddJobsCommand(&app, &exit_code);
  llava::client::AddModelsCommand(&app, &exit_code);
  llava::client::AddReplayCommand(&app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? llava::client::kOk : llava::client::kRequestError;
  }
  return exit_code;
}
