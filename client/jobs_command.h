// `llava jobs`: training jobs of a training service.
#ifndef LLAVA_CLIENT_JOBS_COMMAND_H_
#define LLAVA_CLIENT_JOBS_COMMAND_H_

#include <CLI/App.hpp>

namespace llava::client {

// create RECIPE, list, get ID, watch ID, cancel ID, delete ID. `exit_code` is set when the command
// was run; a watched job that failed or was cancelled is a request error.
void AddJobsCommand(CLI::App* app, int* exit_code);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_JOBS_COMMAND_H_
