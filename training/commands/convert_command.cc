#include "training/commands/convert_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "model/config/hub_folder.h"
#include "training/export/original_layout.h"
#include "training/run/hugging_face_layout.h"

namespace llava::training {

namespace {

struct Arguments {
  std::string checkpoint;
  std::string to = "huggingface";
  std::string vision_tower;
  std::string out;
};

absl::Status Convert(const Arguments& arguments) {
  const auto convert = arguments.to == "original" ? ConvertToOriginal : ConvertToHuggingFace;
  ASSIGN_OR_RETURN(const std::string note,
                   convert(arguments.checkpoint, arguments.vision_tower, arguments.out));
  if (note.empty()) {
    std::printf("prompts have the same token ids as in %s\n", arguments.checkpoint.c_str());
  } else {
    std::printf("some prompts have other token ids than in %s: %s\n", arguments.checkpoint.c_str(),
                note.c_str());
  }
  return absl::OkStatus();
}

}  // namespace

void AddConvertCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "convert", "Write a checkpoint of the original layout as a Hugging Face one, or the reverse");
  command->add_option("checkpoint", arguments->checkpoint, "A checkpoint in the other layout")
      ->required()
      ->transform(CLI::Validator(model::TakeSnapshot, ""));
  command->add_option("--to", arguments->to, "The layout to write: huggingface (default), original")
      ->check(CLI::IsMember({"huggingface", "original"}));
  command->add_option("--vision-tower", arguments->vision_tower,
                      "The CLIP folder of an original checkpoint that names none that is here; "
                      "with --to original what it is to name, in place of a folder in --out");
  command
      ->add_option("--out", arguments->out,
                   "The folder to write, without weights yet; with --to original a new one")
      ->required();
  command->callback([arguments, exit_code] {
    const absl::Status status = Convert(*arguments);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train convert: %s\n", std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava::training
