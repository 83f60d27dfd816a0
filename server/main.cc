// llavad: `llavad --config FILE` serves, the subcommands work without a server.
#include <torch/version.h>

#include <CLI/CLI.hpp>

#include "base/command_line/command_line.h"
#include "base/command_line/version.h"
#include "base/machine/openmp_environment.h"
#include "model/kernels/cpu/dispatch.h"
#include "model/ranks/c10d_backend.h"
#include "server/app/serve_command.h"
#include "server/commands/captured_command.h"
#include "server/commands/generate_command.h"
#include "server/commands/inspect_command.h"
#include "server/torch/torch_backend.h"

int main(int argc, char** argv) {
  llava::TellOpenMp(argv);
  llava::model::TurnOffFlightRecorder();
  CLI::App app("LLaVA serving daemon", "llavad");
  app.set_version_flag("--version", [] {
    return llava::VersionText(
        {{"LibTorch", TORCH_VERSION}, {"kernels", llava::model::Kernels().name}});
  });
  llava::DescribeItself(&app);
  int exit_code = 0;
  llava::server::ServeCommand serve(&app);
  llava::server::TorchBackend backend;
  llava::AddGenerateCommand(app, &exit_code);
  llava::AddInspectCommand(app, &backend, &exit_code);
  llava::AddCapturedCommand(app, &exit_code);
  CLI11_PARSE(app, argc, argv);
  if (!app.get_subcommands().empty()) return exit_code;
  return serve.Run(&backend);
}
