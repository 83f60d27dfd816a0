#include "training/commands/scenes_command.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/command_line/numbers.h"
#include "training/data/scenes/write.h"

namespace llava::training {
namespace {

struct Arguments {
  scenes::WriteOptions options;
  std::string out;
  std::string level = "full";
  bool held_out = false;
};

int Run(Arguments arguments) {
  arguments.options.level = *scenes::ParseLevel(arguments.level);
  arguments.options.split = arguments.held_out ? scenes::Split::kHeldOut : scenes::Split::kTrain;
  const absl::Status status = scenes::WriteScenes(arguments.options, arguments.out);
  if (!status.ok()) {
    std::fprintf(stderr, "llava-train scenes: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  std::printf("%lld scenes in %s\n", static_cast<long long>(arguments.options.count),
              arguments.out.c_str());
  return 0;
}

}  // namespace

void AddScenesCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("scenes", "Draw synthetic training pictures");
  command->add_option("--out", arguments->out, "Folder to write")->required();
  command->add_option("--count", arguments->options.count, "Pictures")
      ->required()
      ->check(Positive());
  command->add_option("--seed", arguments->options.seed, "The same seed draws the same pictures");
  command->add_option("--level", arguments->level, "How much stands in a picture")
      ->check(
          CLI::IsMember(std::vector<std::string>(scenes::kLevels.begin(), scenes::kLevels.end())));
  command->add_flag("--held-out", arguments->held_out,
                    "Scenes that no training set of any seed contains");
  command->add_option("--turns", arguments->options.turns, "Questions a picture, at most")
      ->check(NotNegative());
  command
      ->add_option("--comparisons", arguments->options.comparisons,
                   "And so many about the places of two things, at most")
      ->check(NotNegative());
  command->add_flag("--conversations", arguments->options.conversations,
                    "Conversations of two to --turns turns instead of questions that stand alone");
  command->add_option("--patch", arguments->options.patch, "Pixels of a patch label")
      ->check(Positive());
  command->callback([arguments, exit_code] {
    const int code = Run(*arguments);
    if (code != 0) *exit_code = code;
  });
}

}  // namespace llava::training
