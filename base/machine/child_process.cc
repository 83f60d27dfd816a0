#include "base/machine/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"

namespace llava {
namespace {

// In the child, between fork and exec: only calls that are safe there.
[[noreturn]] void BecomeProgram(char* const* arguments, const char* folder, int log, pid_t parent,
                                int error_pipe) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::getppid() == parent && ::setpgid(0, 0) == 0 && ::chdir(folder) == 0 &&
      ::dup2(log, STDOUT_FILENO) >= 0 && ::dup2(log, STDERR_FILENO) >= 0) {
    ::execvp(arguments[0], arguments);
  }
  const int error = errno;
  const ssize_t ignored = ::write(error_pipe, &error, sizeof(error));
  ::_exit(ignored > 0 ? 127 : 126);
}

}  // namespace

absl::StatusOr<ChildProcess> ChildProcess::Start(const std::vector<std::string>& arguments,
                                                 const std::string& folder,
                                                 const std::string& log) {
  const int log_fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log_fd < 0) return absl::ErrnoToStatus(errno, log);
  int error_pipe[2];
  if (::pipe2(error_pipe, O_CLOEXEC) != 0) {
    ::close(log_fd);
    return absl::ErrnoToStatus(errno, "pipe");
  }
  std::vector<char*> pointers;
  for (const std::string& argument : arguments)
    pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) BecomeProgram(pointers.data(), folder.c_str(), log_fd, parent, error_pipe[1]);
  const int fork_error = errno;
  ::close(log_fd);
  ::close(error_pipe[1]);
  int error = 0;
  const ssize_t got = pid < 0 ? 0 : ::read(error_pipe[0], &error, sizeof(error));
  ::close(error_pipe[0]);
  if (pid < 0) return absl::ErrnoToStatus(fork_error, "fork");
  if (got > 0) {
    ::waitpid(pid, nullptr, 0);
    return absl::ErrnoToStatus(error, absl::StrCat("starting ", arguments[0], " in ", folder));
  }
  return ChildProcess(pid, static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::exchange(other.pidfd_, -1)),
      exit_code_(other.exit_code_) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(exit_code_, other.exit_code_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    Signal(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (pidfd_ >= 0) ::close(pidfd_);
}

std::optional<std::string> ChildProcess::Ended() {
  int status = 0;
  if (pid_ <= 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  ::kill(-pid_, SIGKILL);  // whatever it left behind in its group
  pid_ = -1;
  if (WIFSIGNALED(status)) return absl::StrCat("was killed by signal ", WTERMSIG(status));
  exit_code_ = WEXITSTATUS(status);
  return exit_code_ == 0 ? "" : absl::StrCat("ended with exit code ", exit_code_);
}

void ChildProcess::Signal(int number) {
  if (pid_ > 0) ::kill(-pid_, number);
}

}  // namespace llava
