// llava-train: instruction data in, verified checkpoints out.
#include <torch/version.h>

#include <CLI/CLI.hpp>

#include "base/command_line/command_line.h"
#include "base/command_line/version.h"
#include "base/machine/file_limit.h"
#include "base/machine/openmp_environment.h"
#include "model/kernels/cpu/dispatch.h"
#include "training/commands/assemble_command.h"
#include "training/commands/check_command.h"
#include "training/commands/compare_command.h"
#include "training/commands/convert_command.h"
#include "training/commands/evaluate_command.h"
#include "training/commands/export_command.h"
#include "training/commands/generate_command.h"
#include "training/commands/plan_command.h"
#include "training/commands/quantize_command.h"
#include "training/commands/run_command.h"
#include "training/commands/scenes_command.h"
#include "training/commands/serve_command.h"
#include "training/commands/tokenizer_command.h"
#include "training/commands/version_commands.h"
#include "training/commands/weights_commands.h"

int main(int argc, char** argv) {
  llava::TellOpenMp(argv);
  llava::RaiseFileLimit();
  CLI::App app("LLaVA training service", "llava-train");
  app.set_version_flag("--version", [] {
    return llava::VersionText(
        {{"LibTorch", TORCH_VERSION}, {"kernels", llava::model::Kernels().name}});
  });
  app.require_subcommand(1);
  llava::DescribeItself(&app);
  int exit_code = 0;
  llava::training::AddAssembleCommand(app, &exit_code);
  llava::training::AddCanaryCommand(app, &exit_code);
  llava::training::AddCheckCommand(app, &exit_code);
  llava::training::AddCompareCommand(app, &exit_code);
  llava::training::AddConvertCommand(app, &exit_code);
  llava::training::AddDeltaCommand(app, &exit_code);
  llava::training::AddEvaluateCommand(app, &exit_code);
  llava::training::AddExportCommand(app, &exit_code);
  llava::training::AddFilterCommand(app, &exit_code);
  llava::training::AddGenerateCommand(app, &exit_code);
  llava::training::AddPinCommands(app, &exit_code);
  llava::training::AddPlanCommand(app, &exit_code);
  llava::training::AddMergeCommand(app, &exit_code);
  llava::training::AddQuantizeCommand(app, &exit_code);
  llava::training::AddRunCommand(app, &exit_code);
  llava::training::AddScenesCommand(app, &exit_code);
  llava::training::AddServeCommand(app, &exit_code);
  llava::training::AddTokenizerCommand(app, &exit_code);
  llava::training::AddTrackCommand(app, &exit_code);
  CLI11_PARSE(app, argc, argv);
  return exit_code;
}
