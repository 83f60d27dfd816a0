// `llavad generate DIR`: one answer of a checkpoint, without a server.
#ifndef LLAVA_SERVER_COMMANDS_GENERATE_COMMAND_H_
#define LLAVA_SERVER_COMMANDS_GENERATE_COMMAND_H_

#include <CLI/App.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace llava {

struct GenerateOptions {
  std::string directory;
  std::vector<std::string> images;  // files
  std::string prompt;
  bool raw = false;           // `prompt` is the whole prompt, "<image>" marks the places
  std::string template_name;  // empty: the checkpoint's
  std::string vision_tower_dir;
  std::string adapter;            // folder of a LoRA adapter to answer with; empty: none
  std::string dtype = "float32";  // or bfloat16
  std::string weights = "auto";   // or int8, int4
  int max_tokens = 256;           // at least 1; fewer where the context ends
  bool ignore_eos = false;
  bool verify = false;  // refuse NaN and infinite weights
  bool json = false;
  std::string dump_stages;  // a safetensors file for what the model computed of the prompt
};

// The greedy answer, to `out`: its text as it comes, or with `json` one line
// {"prompt_ids": [...], "answer_ids": [...], "text": "..."}, with one prompt id per image token and
// with the end-of-text id that ended the answer, if one did.
using TextSink = std::function<void(std::string_view)>;
absl::Status Generate(const GenerateOptions& options, const TextSink& out);

// The subcommand. It sets *exit_code to 1 when something went wrong, with one line on stderr.
void AddGenerateCommand(CLI::App& app, int* exit_code);

}  // namespace llava

#endif  // LLAVA_SERVER_COMMANDS_GENERATE_COMMAND_H_
