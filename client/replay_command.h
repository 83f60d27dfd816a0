// `llava replay`: an answer that was given, asked for again and compared token for token.
#ifndef LLAVA_CLIENT_REPLAY_COMMAND_H_
#define LLAVA_CLIENT_REPLAY_COMMAND_H_

#include <CLI/App.hpp>

namespace llava::client {

void AddReplayCommand(CLI::App* app, int* exit_code);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_REPLAY_COMMAND_H_
