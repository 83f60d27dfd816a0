#include "training/commands/tokenizer_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "training/data/train_tokenizer.h"

namespace llava::training {
namespace {

struct Arguments {
  TokenizerOptions options;
  std::string out;
};

int Run(const Arguments& arguments) {
  const absl::Status status = TrainTokenizer(arguments.options, arguments.out);
  if (!status.ok()) {
    std::fprintf(stderr, "llava-train tokenizer: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  std::printf("%d pieces in %s; <image> is %d, <pad> is %d\n", arguments.options.vocabulary,
              arguments.out.c_str(), arguments.options.vocabulary,
              arguments.options.vocabulary + 1);
  return 0;
}

}  // namespace

void AddTokenizerCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("tokenizer", "Train a tokenizer from text files");
  command->add_option("--corpus", arguments->options.corpora, "Text, a sentence a line")
      ->required();
  command->add_option("--vocab", arguments->options.vocabulary, "Pieces of the vocabulary")
      ->check(CLI::Range(300, 1000000));
  command->add_option("--template", arguments->options.chat_template,
                      "The conversation template whose words are mixed in");
  command->add_option("--out", arguments->out, "Folder to write")->required();
  command->callback([arguments, exit_code] {
    const int code = Run(*arguments);
    if (code != 0) *exit_code = code;
  });
}

}  // namespace llava::training
