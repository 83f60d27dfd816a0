// `llava health`: whether a server serves, for scripts and container health checks.
#ifndef LLAVA_CLIENT_HEALTH_COMMAND_H_
#define LLAVA_CLIENT_HEALTH_COMMAND_H_

#include <CLI/App.hpp>

namespace llava::client {

// Asks grpc.health.v1.Health of llavad or of `llava-train serve` and prints what it says, as
// "SERVING". `exit_code` is set when the command was run: kOk only when it serves, kServerError
// when it answers that it does not, or not in time.
void AddHealthCommand(CLI::App* app, int* exit_code);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_HEALTH_COMMAND_H_
