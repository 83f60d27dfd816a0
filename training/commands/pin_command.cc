#include "training/commands/pin_command.h"

#include <cstdio>
#include <memory>
#include <string>

#include "training/publish/publish.h"

namespace llava::training {
namespace {

void Add(CLI::App& app, const char* name, const char* help, bool pinned, int* exit_code) {
  auto dir = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("dir", *dir, "The folder of a published version")->required();
  command->callback([dir, name, pinned, exit_code] {
    const absl::Status status = SetPinned(*dir, pinned);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train %s: %s\n", name, std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace

void AddPinCommands(CLI::App& app, int* exit_code) {
  Add(app, "pin", "Keep a published version whatever keep_published says", true, exit_code);
  Add(app, "unpin", "Let a pinned version be deleted again", false, exit_code);
}

}  // namespace llava::training
