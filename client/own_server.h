// A daemon of this process alone, for a checkpoint that no server has: `llavad` as a child on a
// port of this machine that nobody else is told.
#ifndef LLAVA_CLIENT_OWN_SERVER_H_
#define LLAVA_CLIENT_OWN_SERVER_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/machine/child_process.h"

namespace llava::client {

// Used by one thread, which lives as long. It ends with its client, also when that is killed.
class OwnServer {
 public:
  // Returns when the model answers. `program`: a path, or a name that is looked for beside this
  // program, then in PATH. NOT_FOUND: there is no such program; FAILED_PRECONDITION, with what it
  // said: it ended, such as for a checkpoint that cannot be read.
  static absl::StatusOr<std::unique_ptr<OwnServer>> Start(const std::string& program,
                                                          const std::string& checkpoint);
  ~OwnServer();

  const std::string& address() const { return address_; }  // HOST:PORT of gRPC

 private:
  OwnServer(std::string log, ChildProcess child) : log_(std::move(log)), child_(std::move(child)) {}
  absl::Status AwaitReady();

  const std::string log_;  // the file with what it says
  ChildProcess child_;
  std::string address_;
};

}  // namespace llava::client

#endif  // LLAVA_CLIENT_OWN_SERVER_H_
