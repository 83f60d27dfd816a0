#include "training/commands/convert_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "training/run/hugging_face_layout.h"

namespace llava::training {

void AddConvertCommand(CLI::App& app, int* exit_code) {
  struct Arguments {
    std::string checkpoint;
    std::string vision_tower;
    std::string out;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "convert", "Write a checkpoint of the original layout as a Hugging Face one");
  command->add_option("checkpoint", arguments->checkpoint, "A checkpoint in the original layout")
      ->required();
  command->add_option("--vision-tower", arguments->vision_tower,
                      "Its CLIP folder, where the checkpoint names none that is here");
  command->add_option("--out", arguments->out, "The folder to write, without weights yet")
      ->required();
  command->callback([arguments, exit_code] {
    const absl::Status status =
        ConvertToHuggingFace(arguments->checkpoint, arguments->vision_tower, arguments->out);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train convert: %s\n", std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava::training
