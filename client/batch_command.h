// `llava batch`.
#ifndef LLAVA_CLIENT_BATCH_COMMAND_H_
#define LLAVA_CLIENT_BATCH_COMMAND_H_

#include <CLI/App.hpp>

namespace llava::client {

// The exit code is 0 when every row has an answer, 1 when one has none or the input is wrong, else
// as in client/exit_code.h.
void AddBatchCommand(CLI::App* app, int* exit_code);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_BATCH_COMMAND_H_
