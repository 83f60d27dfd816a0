#include "training/commands/export_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "base/status_macros.h"
#include "training/recipe/recipe.h"
#include "training/run/opened_run.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

absl::Status Export(const std::string& recipe_file, const std::string& out) {
  ASSIGN_OR_RETURN(const Recipe recipe, ReadRecipe(recipe_file));
  ASSIGN_OR_RETURN(const OpenedRun run, JoinRun(recipe));
  ASSIGN_OR_RETURN(const std::unique_ptr<model::Llava> model, LoadTrainedModel(run.recipe));
  return SaveTrainedModel(run.recipe, *model, out);
}

}  // namespace

void AddExportCommand(CLI::App& app, int* exit_code) {
  struct Arguments {
    std::string recipe;
    std::string out;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("export", "Write the newest saved state of a run as a checkpoint");
  command->add_option("recipe", arguments->recipe, "The recipe's YAML file")->required();
  command->add_option("--out", arguments->out, "The checkpoint's folder, without weights yet")
      ->required();
  command->callback([arguments, exit_code] {
    const absl::Status status = Export(arguments->recipe, arguments->out);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train export: %s\n", std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava::training
