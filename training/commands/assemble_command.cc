#include "training/commands/assemble_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "model/config/config.h"
#include "model/config/hub_folder.h"
#include "training/assemble/assemble.h"
#include "training/assemble/parts_config.h"

namespace llava::training {
namespace {

using model::Architecture;
using model::SelectStrategy;

struct Arguments {
  AssembleOptions options;
  std::string family = "llava";
  std::string select;
  std::string projector = "mlp2x_gelu";
  std::string out;
};

void AddOptions(CLI::App& command, Arguments& arguments) {
  PartsOptions& parts = arguments.options.parts;
  command
      .add_option("--language-model", parts.language_model,
                  "The language model's folder: Vicuna or another Llama, Mistral, Qwen2")
      ->required()
      ->transform(CLI::Validator(model::TakeSnapshot, ""));
  command
      .add_option("--vision-tower", parts.vision_tower,
                  "The vision tower's folder: CLIP or SigLIP, with or without its text half")
      ->required()
      ->transform(CLI::Validator(model::TakeSnapshot, ""));
  command.add_option("--out", arguments.out, "The folder to write, without weights yet")
      ->required();
  command
      .add_option("--family", arguments.family,
                  "llava: one tile a picture; llava_next (LLaVA-1.6) and llava_onevision: tiles of "
                  "its own shape")
      ->check(CLI::IsMember({"llava", "llava_next", "llava_onevision"}))
      ->capture_default_str();
  command
      .add_option("--projector", arguments.projector,
                  "mlp2x_gelu as LLaVA-1.5 has it, or linear as LLaVA v1")
      ->check(CLI::IsMember({"mlp2x_gelu", "linear"}))
      ->capture_default_str();
  command.add_option("--projector-weights", arguments.options.projector_file,
                     "mm_projector.bin (or .safetensors) of a projector that was trained already");
  command.add_option("--template", arguments.options.chat_template,
                     "plain, v0, v1, llava_llama_2, mistral or chatml; by default v1 for "
                     "Llama, mistral for Mistral, chatml for Qwen");
  command
      .add_option("--feature-layer", parts.feature_layer,
                  "Which of the tower's hidden states; negative from the end")
      ->capture_default_str();
  command
      .add_option("--feature-select", arguments.select,
                  "default drops the tower's class token, full keeps all rows; by default as the "
                  "tower has such a token")
      ->check(CLI::IsMember({"default", "full"}));
  command.add_option("--seed", arguments.options.seed, "Of the new projector")
      ->capture_default_str();
}

}  // namespace

void AddAssembleCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "assemble", "Join a language model, a vision tower and a new projector to a LLaVA");
  AddOptions(*command, *arguments);
  command->callback([arguments, exit_code] {
    PartsOptions& parts = arguments->options.parts;
    parts.linear_projector = arguments->projector == "linear";
    for (const auto family : {Architecture::kLlavaNext, Architecture::kOnevision}) {
      if (arguments->family == model::ModelType(family)) parts.architecture = family;
    }
    if (arguments->select == "default") parts.select = SelectStrategy::kDropClassToken;
    if (arguments->select == "full") parts.select = SelectStrategy::kKeepClassToken;
    const absl::Status status = Assemble(arguments->options, arguments->out);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train assemble: %s\n", std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava::training
