// `llavad inspect DIR`: what a checkpoint is, what it costs, and what is wrong with it.
#ifndef LLAVA_SERVER_COMMANDS_INSPECT_COMMAND_H_
#define LLAVA_SERVER_COMMANDS_INSPECT_COMMAND_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "server/hosting/backend.h"

namespace llava {

struct InspectOptions {
  std::string directory;
  std::string vision_tower_dir;
  std::string weights = "auto";  // int8, int4, fp8: looks also whether they can be served so
  bool verify = false;  // also reads every file: its hash in the manifest, NaN, infinite weights
};

struct Inspection {
  std::string text;                   // for people, ends with a line feed
  std::vector<std::string> problems;  // each names file, key, expected and found
};

// Reads headers and texts; the weights only with `verify`.
Inspection Inspect(const InspectOptions& options);

// The subcommand. It sets *exit_code to 1 when there are problems. `backend` is for --plan and
// outlives the parsing.
void AddInspectCommand(CLI::App& app, server::Backend* backend, int* exit_code);

}  // namespace llava

#endif  // LLAVA_SERVER_COMMANDS_INSPECT_COMMAND_H_
