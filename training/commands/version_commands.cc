#include "training/commands/version_commands.h"

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "training/export/pin_adapter.h"
#include "training/publish/publish.h"
#include "training/service/server_verdict.h"

namespace llava::training {
namespace {

constexpr int kTakenBack = 3;  // as `run` says that a version was rejected
constexpr int kNotYet = 75;    // as everywhere: the same command goes on

struct PinArguments {
  std::string dir;
  std::string base;
};

absl::Status Pin(const PinArguments& arguments) {
  if (arguments.base.empty()) return SetPinned(arguments.dir, true);
  ASSIGN_OR_RETURN(const PinnedAdapter pinned, PinAdapter(arguments.dir, arguments.base));
  std::printf("adapter for \"%s\", rank %d, %s; %.1f MB in memory\nfits the layers of %s\n",
              pinned.base.c_str(), pinned.rank, pinned.targets.c_str(),
              static_cast<double>(pinned.bytes) / 1e6, arguments.base.c_str());
  std::printf("version %s of %zu files\n", pinned.version.c_str(), pinned.files);
  return absl::OkStatus();
}

void Add(CLI::App& app, const char* name, const char* help, bool pinned, int* exit_code) {
  auto arguments = std::make_shared<PinArguments>();
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("dir", arguments->dir, "The folder of a published version")->required();
  if (pinned) {
    command->add_option("--base", arguments->base,
                        "A checkpoint: the folder is a LoRA adapter in PEFT's layout, which is "
                        "checked against its layers and gets the manifest.json by which llavad "
                        "verifies it");
  }
  command->callback([arguments, name, pinned, exit_code] {
    const absl::Status status = pinned ? Pin(*arguments) : SetPinned(arguments->dir, false);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train %s: %s\n", name, std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

int AskForVerdict(const ServingDaemon& daemon, const std::string& dir) {
  const auto verdict = AwaitVerdict(daemon, dir, RealClock());
  if (!verdict.ok()) {
    std::fprintf(stderr, "llava-train canary: %s\n", MessageOf(verdict.status()).c_str());
    return absl::IsDeadlineExceeded(verdict.status()) ? kNotYet : 1;
  }
  if (verdict->is_live) {
    std::printf("live at %s\n", daemon.address.c_str());
    return 0;
  }
  std::printf("rolled back: %s\n", verdict->reason.c_str());
  return kTakenBack;
}

}  // namespace

void AddPinCommands(CLI::App& app, int* exit_code) {
  Add(app, "pin", "Keep a published version whatever keep_published says, or verify an adapter",
      true, exit_code);
  Add(app, "unpin", "Let a pinned version be deleted again", false, exit_code);
}

void AddCanaryCommand(CLI::App& app, int* exit_code) {
  auto daemon = std::make_shared<ServingDaemon>();
  auto dir = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "canary", "Wait until a server has taken a published version as live, or back");
  command->add_option("dir", *dir, "The folder of a published version")->required();
  command->add_option("--server", daemon->address, "HOST:PORT of llavad's gRPC")->required();
  command->add_option("--ca", daemon->ca,
                      "PEM file of the authority that signed the server; without it no TLS");
  command->add_option("--token-file", daemon->token_file, "Holds a token with the role admin");
  command->add_option("--wait", daemon->wait_seconds, "Seconds until there must be a verdict")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{366} * 24 * 3600))
      ->capture_default_str();
  command->callback([daemon, dir, exit_code] {
    const int code = AskForVerdict(*daemon, *dir);
    if (code != 0) *exit_code = code;
  });
}

}  // namespace llava::training
