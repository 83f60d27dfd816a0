#include "training/commands/quantize_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "training/run/quantize_checkpoint.h"

namespace llava::training {

void AddQuantizeCommand(CLI::App& app, int* exit_code) {
  struct Arguments {
    std::string checkpoint;
    std::string format;
    std::string out;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "quantize", "Write a checkpoint with weights of 8 or 4 bits, for serving on CPUs");
  command
      ->add_option("checkpoint", arguments->checkpoint, "A checkpoint in the Hugging Face layout")
      ->required();
  command
      ->add_option("--format", arguments->format,
                   "int8, or int4: 4 bits in the language model's layers, 8 elsewhere")
      ->check(CLI::IsMember({"int8", "int4"}))
      ->required();
  command->add_option("--out", arguments->out, "The folder to write, which is not there yet")
      ->required();
  command->callback([arguments, exit_code] {
    const absl::StatusOr<std::string> version =
        QuantizeCheckpoint(arguments->checkpoint, arguments->format, arguments->out);
    if (version.ok()) {
      std::printf("%s  %s\n", arguments->out.c_str(), version->c_str());
      return;
    }
    std::fprintf(stderr, "llava-train quantize: %s\n",
                 std::string(version.status().message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava::training
