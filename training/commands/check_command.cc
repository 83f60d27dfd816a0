#include "training/commands/check_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "base/command_line/numbers.h"
#include "model/config/hub_folder.h"
#include "training/commands/plan_command.h"
#include "training/data/check.h"

namespace llava::training {
namespace {

struct Arguments {
  CheckOptions options;
  double max_bad_share = 0.01;
  MemoryArguments memory;
};

int Run(const Arguments& arguments) {
  for (const std::string& file : arguments.options.files) {
    if (!file.ends_with(".yaml") && !file.ends_with(".yml")) continue;
    std::fprintf(stderr,
                 "llava-train check: %s: is a recipe by its name, expected instruction data; "
                 "--memory says what a recipe will hold in memory\n",
                 file.c_str());
    return 2;
  }
  const auto report = CheckData(arguments.options,
                                [](const std::string& line) { std::printf("%s\n", line.c_str()); });
  if (!report.ok()) {
    std::fprintf(stderr, "llava-train check: %s\n", std::string(report.status().message()).c_str());
    return 2;
  }
  std::printf("%s", ToText(*report, !arguments.options.checkpoint.empty()).c_str());
  if (!arguments.options.checkpoint.empty() && report->teaches_nothing()) {
    std::fprintf(stderr,
                 "llava-train check: nothing would be learned: every label is masked in each of "
                 "the %lld rows (--max-length is %lld), expected a row with a token of an answer\n",
                 static_cast<long long>(report->rows - report->bad),
                 static_cast<long long>(arguments.options.max_length));
    return 1;
  }
  if (report->bad_share() <= arguments.max_bad_share) return 0;
  std::fprintf(stderr,
               "llava-train check: %.2f%% of the rows are bad, at most %.2f%% are allowed\n",
               100 * report->bad_share(), 100 * arguments.max_bad_share);
  return 1;
}

}  // namespace

void AddCheckCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CheckOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand(
      "check", "Say what is wrong with instruction data, or what a recipe will hold in memory");
  command->add_option("data", options.files, "LLaVA JSON or JSONL, gzip'd or not, or tars")
      ->required();
  command->add_option("--images", options.images_dir, "The folder that rows name pictures in");
  command
      ->add_option("--checkpoint", options.checkpoint,
                   "Counts tokens and labels with this checkpoint's tokenizer")
      ->transform(CLI::Validator(model::TakeSnapshot, ""));
  command->add_option("--vision-tower", options.vision_tower_dir,
                      "The CLIP folder of a checkpoint in the original layout");
  command->add_option("--template", options.chat_template,
                      "plain, v0, v1, llava_llama_2, mistral, chatml or serving");
  command->add_option("--max-length", options.max_length, "Tokens of a row")->check(Positive());
  command
      ->add_option("--max-bad-share", arguments->max_bad_share,
                   "Exit with 1 when a larger share of the rows is bad")
      ->check(CLI::Range(0.0, 1.0));
  AddMemoryOptions(*command, arguments->memory);
  command->callback([arguments, exit_code] {
    const MemoryArguments& memory = arguments->memory;
    const int code =
        memory.wanted ? PrintMemory(arguments->options.files, memory) : Run(*arguments);
    if (code != 0) *exit_code = code;
  });
}

}  // namespace llava::training
