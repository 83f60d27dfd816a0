// What the engine tells the metrics and the log. Called on the engine thread: no call may block.
#ifndef LLAVA_SERVER_ENGINE_OBSERVER_H_
#define LLAVA_SERVER_ENGINE_OBSERVER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/scheduling/plan.h"
#include "server/scheduling/request.h"

namespace llava::engine {

struct StepReport {
  Digest version;
  int sequences = 0;    // chunks of the step
  int tokens = 0;       // rows of the flattened batch
  int decodes = 0;      // sequences that go on with their answer
  int images = 0;       // whose encoding ended
  Duration schedule{};  // Tick
  Duration encode{};    // 0 without images
  Duration forward{};
  absl::Status status;  // of the step
};

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void OnStep(const StepReport&) {}
  // The first token of a request: its time to first token.
  virtual void OnFirstToken(Duration /*since_arrival*/) {}
  // Every later token of a choice, with the time since the one before.
  virtual void OnNextToken(Duration /*since_last*/) {}
  virtual void OnEnd(const scheduling::Request&, const absl::Status&, const scheduling::Usage&,
                     Duration /*since_arrival*/) {}
  // The request that just ended had been cancelled; so many steps have begun since. 0 or 1.
  virtual void OnCancelled(std::uint64_t /*steps*/) {}
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_ENGINE_OBSERVER_H_
