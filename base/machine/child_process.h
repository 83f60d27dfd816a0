// A child process with its output in a file. It ends with its parent, whatever ends that: what a
// parent would start again can never still be running.
#ifndef LLAVA_BASE_MACHINE_CHILD_PROCESS_H_
#define LLAVA_BASE_MACHINE_CHILD_PROCESS_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace llava {

// Used by one thread, which must live as long as the child (PR_SET_PDEATHSIG watches the thread).
class ChildProcess {
 public:
  // Appends stdout and stderr to `log`; runs in `folder`. NOT_FOUND: the program cannot be run.
  static absl::StatusOr<ChildProcess> Start(const std::vector<std::string>& arguments,
                                            const std::string& folder, const std::string& log);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();  // kills and waits

  // Becomes readable when the process ends: for poll().
  int descriptor() const { return pidfd_; }

  // How it ended, in words; "" for exit code 0. Nothing while it runs.
  std::optional<std::string> Ended();

  // Once it has ended; -1 when a signal ended it.
  int exit_code() const { return exit_code_; }

  void Signal(int number);

 private:
  ChildProcess(pid_t pid, int pidfd) : pid_(pid), pidfd_(pidfd) {}

  pid_t pid_ = -1;  // -1: ended and waited for
  int pidfd_ = -1;
  int exit_code_ = -1;
};

}  // namespace llava

#endif  // LLAVA_BASE_MACHINE_CHILD_PROCESS_H_
