// `llava chat`: one question, or a conversation when none is given.
#ifndef LLAVA_CLIENT_CHAT_COMMAND_H_
#define LLAVA_CLIENT_CHAT_COMMAND_H_

#include <CLI/App.hpp>

namespace llava::client {

// `exit_code` (client/exit_code.h) is set when the command was run.
void AddChatCommand(CLI::App* app, int* exit_code);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_CHAT_COMMAND_H_
