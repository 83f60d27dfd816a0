#include "training/commands/export_command.h"

#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "base/status_macros.h"
#include "training/export/run_parts.h"
#include "training/recipe/recipe.h"
#include "training/run/opened_run.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

struct Arguments {
  std::string recipe;
  std::string out;
  std::string peft;
  std::string projector;
  ProjectorNames names = ProjectorNames::kOriginal;
};

absl::Status Export(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Recipe recipe, ReadRecipe(arguments.recipe));
  ASSIGN_OR_RETURN(const OpenedRun run, JoinRun(recipe));
  if (!arguments.peft.empty()) return ExportPeft(run.recipe, run.inputs, arguments.peft);
  if (!arguments.projector.empty()) {
    return ExportProjector(run.recipe, arguments.names, arguments.projector);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<model::Llava> model, LoadTrainedModel(run.recipe));
  return SaveTrainedModel(run.recipe, *model, arguments.out);
}

}  // namespace

void AddExportCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("export", "Write what a run has learned, from its newest saved state");
  command->add_option("recipe", arguments->recipe, "The recipe's YAML file")->required();
  CLI::Option_group* what = command->add_option_group("what");
  what->add_option("--out", arguments->out, "A checkpoint: its folder, without weights yet");
  what->add_option("--peft", arguments->peft,
                   "The adapters of the last stage with lora, for PEFT: their folder");
  CLI::Option* projector =
      what->add_option("--projector", arguments->projector,
                       "The projector: mm_projector.bin, or a name that ends in .safetensors");
  what->require_option(1);
  const std::map<std::string, ProjectorNames> names = {
      {"original", ProjectorNames::kOriginal}, {"huggingface", ProjectorNames::kHuggingFace}};
  command
      ->add_option("--names", arguments->names,
                   "Of the projector's tensors: original (default) or huggingface")
      ->transform(CLI::CheckedTransformer(names))
      ->needs(projector);
  command->callback([arguments, exit_code] {
    const absl::Status status = Export(*arguments);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train export: %s\n", std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava::training
