// `llavad captured DIR`: the shards of a folder of captured turns, and how a conversation is
// removed from them while no server works there.
#ifndef LLAVA_SERVER_COMMANDS_CAPTURED_COMMAND_H_
#define LLAVA_SERVER_COMMANDS_CAPTURED_COMMAND_H_

#include <CLI/App.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"

namespace llava {

// A line a closed shard: rows, verdicts, bytes, and the versions that were trained on it.
// NOT_FOUND: `dir` is no folder of captured turns; else the errors of the files.
absl::StatusOr<std::string> CapturedShards(const std::string& dir);

// What became of the conversation, as words. Errors of capture::Store::Remove; UNAVAILABLE: a
// server works there, and is to be asked (DELETE /v1/feedback/ID).
absl::StatusOr<std::string> ForgetCaptured(const std::string& dir, const std::string& tenant,
                                           const std::string& id, const Clock& clock);

// The subcommand. It sets *exit_code to 1 when something went wrong, with one line on stderr.
void AddCapturedCommand(CLI::App& app, int* exit_code);

}  // namespace llava

#endif  // LLAVA_SERVER_COMMANDS_CAPTURED_COMMAND_H_
