// `llava bench`: a load test with images.
#ifndef LLAVA_CLIENT_BENCH_COMMAND_H_
#define LLAVA_CLIENT_BENCH_COMMAND_H_

#include <CLI/App.hpp>

namespace llava::client {

// `exit_code` is set when the command was run: 0 when every request was answered.
void AddBenchCommand(CLI::App* app, int* exit_code);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_BENCH_COMMAND_H_
