// `llavad --config FILE`: serve until a signal.
#ifndef LLAVA_SERVER_APP_SERVE_COMMAND_H_
#define LLAVA_SERVER_APP_SERVE_COMMAND_H_

#include <CLI/App.hpp>
#include <map>
#include <string>

#include "server/hosting/backend.h"

namespace llava::server {

// The flags of the command itself; subcommands do other things.
class ServeCommand {
 public:
  explicit ServeCommand(CLI::App* app);

  // The exit code: 0 after a signal when every accepted request was answered, 1 when some were cut
  // off, 2 when the daemon could not start. REQUIRES: the command line was parsed.
  int Run(Backend* backend);

 private:
  int Serve(const Config& config, Backend* backend);

  std::string config_file_;
  std::map<std::string, std::string> overrides_;  // option to the flag's text
  bool print_config_ = false;
  bool check_ = false;
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_SERVE_COMMAND_H_
