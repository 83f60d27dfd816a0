// What became of a published version with the daemon that serves: the last step of a night.
#ifndef LLAVA_TRAINING_SERVICE_SERVER_VERDICT_H_
#define LLAVA_TRAINING_SERVICE_SERVER_VERDICT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"

namespace llava::training {

struct ServingDaemon {
  std::string address = {};              // HOST:PORT of its gRPC; "": nobody is asked
  std::string ca = {};                   // PEM file of who signed its certificate; "": without TLS
  std::string token_file = {};           // holds a token with the role admin; "": none is sent
  std::int64_t wait_seconds = 2 * 3600;  // for its verdict
  Duration pause = std::chrono::seconds(2);  // between two questions
};

struct ServerVerdict {
  bool is_live = false;     // else it was taken back, for good
  std::string reason = {};  // of that, on one line
};

// Asks the daemon again and again what it says of the version in the folder `dir`, until it is or
// was live, or was rolled back. A daemon that is down or restarts is asked on. One that finds a
// canary too slow tries it again by itself: only with its note beside the versions
// (training/publish/publish.h), or at the end of the wait, is a version rolled back for good. Then
// the note is made here: the daemon may not be able to write there, and without it the next night
// would begin with that version.
//
// DEADLINE_EXCEEDED: the wait is over, and says how far it has come. FAILED_PRECONDITION: the
// daemon could not load the version, and why. UNAUTHENTICATED and PERMISSION_DENIED are the
// daemon's; NOT_FOUND, INVALID_ARGUMENT and others those of the files. Blocks its thread.
absl::StatusOr<ServerVerdict> AwaitVerdict(const ServingDaemon& daemon, const std::string& dir,
                                           const Clock& clock);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_SERVER_VERDICT_H_
