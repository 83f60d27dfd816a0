// `llavad --config FILE`: serve until a signal.
#ifndef LLAVA_SERVER_APP_SERVE_COMMAND_H_
#define LLAVA_SERVER_APP_SERVE_COMMAND_H_

#include <CLI/App.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/config.h"
#include "server/config/config_table.h"
#include "server/hosting/backend.h"

namespace llava::server {

// The flags of the command itself: one for each option of the table, in groups by section, and
// those that say what to do with them. Subcommands do other things.
class ServeCommand {
 public:
  explicit ServeCommand(CLI::App* app);

  // The exit code: 0 after a signal when every accepted request was answered, 1 when some were cut
  // off, 2 when the daemon could not start. REQUIRES: the command line was parsed.
  int Run(Backend* backend);

  // The options of the file, instead those of environment variables and of flags where there are
  // any, and where each came from. The error names the file's line, the variable or the flag.
  // REQUIRES: the command line was parsed.
  absl::StatusOr<Config> MakeConfig(Origins* origins) const;

 private:
  void AddFlag(const Section& section, const Option& option, CLI::App* app);
  int Serve(const Config& config, Backend* backend);

  std::string config_file_;
  std::vector<std::pair<const Option*, std::string>> overrides_;  // the text of each flag given
  bool print_config_ = false;
  bool check_ = false;
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_SERVE_COMMAND_H_
