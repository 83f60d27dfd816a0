// Bounds how long, and how many, calls may wait for their message: a client that begins one and
// does not end it is not waited for.
#ifndef LLAVA_RPC_MESSAGE_WAITS_H_
#define LLAVA_RPC_MESSAGE_WAITS_H_

#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace llava::rpc {

// Thread-safe.
class MessageWaits {
 public:
  struct Limits {
    Duration patience = std::chrono::seconds(30);  // from the call's begin to its message's end
    std::size_t most_per_caller = 256;             // one more ends the caller's oldest
  };
  // Ends the call, with why.
  using End = std::function<void(const absl::Status& why)>;

 private:
  struct Wait {
    TimePoint since;
    End end;  // empty: called
  };
  using Line = std::list<Wait>;  // oldest first

 public:
  // A place in the line of a caller.
  struct Place {
    std::map<std::string, Line>::iterator caller;
    Line::iterator wait;
  };

  explicit MessageWaits(const Limits& limits) : limits_(limits) {}

  // A call of `caller` begins to wait. `end` is called at most once, never after Leave, and under
  // the lock, so that it must not call back.
  Place Enter(const std::string& caller, TimePoint now, End end);

  // The message is there, or will never be. False when `end` was called. Once for each Enter.
  bool Leave(Place place);

  // Ends those that have waited for too long.
  void EndOverdue(TimePoint now);

 private:
  const Limits limits_;
  Mutex mutex_;
  std::map<std::string, Line> lines_ ABSL_GUARDED_BY(mutex_);  // none is empty
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_MESSAGE_WAITS_H_
