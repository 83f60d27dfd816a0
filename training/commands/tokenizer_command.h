// `llava-train tokenizer`: trains a sentencepiece tokenizer from text files.
#ifndef LLAVA_TRAINING_COMMANDS_TOKENIZER_COMMAND_H_
#define LLAVA_TRAINING_COMMANDS_TOKENIZER_COMMAND_H_

#include <CLI/CLI.hpp>

namespace llava::training {

// Runs when `app` parses; *exit_code is left alone on success.
void AddTokenizerCommand(CLI::App& app, int* exit_code);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_TOKENIZER_COMMAND_H_
