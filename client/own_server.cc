#include "client/own_server.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace llava::client {
namespace {

constexpr std::size_t kMaxLogBytes = std::size_t{16} << 20;
constexpr std::size_t kShownBytes = 2000;  // of what it said before it ended
constexpr int kLookMillis = 100;           // how often its output is looked at
constexpr int kStopMillis = 10'000;

// Beside this program, if it is there.
std::string Found(const std::string& program) {
  if (program.find('/') != std::string::npos) return std::filesystem::absolute(program).string();
  std::error_code error;
  const auto own = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = own.parent_path() / program;
  return !error && ::access(beside.c_str(), X_OK) == 0 ? beside.string() : program;
}

absl::StatusOr<std::string> NewLog() {
  std::error_code error;
  const auto folder = std::filesystem::temp_directory_path(error);
  std::string path = (folder / "llava-server-XXXXXX").string();
  const int file = ::mkostemp(path.data(), O_CLOEXEC);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path));
  ::close(file);
  return path;
}

// Whether it ends within that time.
bool Waits(const ChildProcess& child, int millis) {
  pollfd ended{.fd = child.descriptor(), .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1, millis) == 1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OwnServer>> OwnServer::Start(const std::string& program,
                                                            const std::string& checkpoint) {
  ASSIGN_OR_RETURN(std::string log, NewLog());
  std::vector<std::string> arguments = {Found(program), "--checkpoint"};
  arguments.push_back(std::filesystem::absolute(checkpoint).string());
  for (const char* more : {"--listen", "127.0.0.1:0", "--http", "", "--metrics", ""}) {
    arguments.emplace_back(more);
  }
  auto child = ChildProcess::Start(arguments, "/", log);
  if (!child.ok()) {
    ::unlink(log.c_str());
    return child.status();
  }
  std::unique_ptr<OwnServer> server(new OwnServer(std::move(log), *std::move(child)));
  RETURN_IF_ERROR(server->AwaitReady());
  return server;
}

OwnServer::~OwnServer() {
  child_.Signal(SIGTERM);
  if (child_.descriptor() >= 0) Waits(child_, kStopMillis);
  ::unlink(log_.c_str());
}

absl::Status OwnServer::AwaitReady() {
  for (;;) {
    const bool ended = Waits(child_, kLookMillis);
    ASSIGN_OR_RETURN(const std::string said, ReadFile(log_, kMaxLogBytes));
    bool ready = false;
    for (absl::string_view line : absl::StrSplit(said, '\n')) {
      if (absl::ConsumePrefix(&line, "grpc ")) address_ = std::string(line);
      ready = ready || line == "ready";
    }
    if (ended) {
      const std::string how = child_.Ended().value_or("ended");
      return absl::FailedPreconditionError(
          absl::StrCat("the server of the checkpoint ", how.empty() ? "ended" : how, ": ",
                       said.substr(said.size() - std::min(said.size(), kShownBytes))));
    }
    if (ready) return absl::OkStatus();
  }
}

}  // namespace llava::client
