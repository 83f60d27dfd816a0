// `llava models`: the versions that a daemon serves.
#ifndef LLAVA_CLIENT_MODELS_COMMAND_H_
#define LLAVA_CLIENT_MODELS_COMMAND_H_

#include <CLI/App.hpp>

namespace llava::client {

// list, load DIR, reload, traffic PERCENT, promote, rollback [REASON], unload VERSION, watch.
// `exit_code` is set when the command was run; a version that was rejected is a server error.
void AddModelsCommand(CLI::App* app, int* exit_code);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_MODELS_COMMAND_H_
