// A service of OpenAI's chat completions, llavad among them: asked many questions at a time, at the
// pace that it can, within a budget, and each question paid once.
#ifndef LLAVA_TRAINING_ENDPOINT_ENDPOINT_H_
#define LLAVA_TRAINING_ENDPOINT_ENDPOINT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "training/endpoint/budget.h"
#include "training/endpoint/chat_reply.h"
#include "training/endpoint/chat_request.h"
#include "training/endpoint/endpoint_options.h"
#include "training/endpoint/ledger.h"

namespace llava::training {

struct EndpointStats {
  std::int64_t sent = 0;     // requests, repeated ones too
  std::int64_t cached = 0;   // answers that the ledger had
  std::int64_t retried = 0;  // attempts that failed and were made again
  TokenCount spent;          // the ledger's
  double cost = 0;           // the ledger's
  double cost_of_run = 0;    // without what the ledger had before
};

// For one thread, which does all the work while it is in Run.
class Endpoint {
 public:
  // The key is read here, and is in no message afterwards. `clock` outlives this. The errors of
  // LoadApiKey and ParseTarget.
  static absl::StatusOr<std::unique_ptr<Endpoint>> Make(EndpointOptions options, Ledger ledger,
                                                        const Clock* clock);
  ~Endpoint();

  // The index-th question.
  using MakeRequest = std::function<absl::StatusOr<ChatRequest>(std::int64_t index)>;
  // Called once for each question, in the order in which answers come, with the answer or with
  // INVALID_ARGUMENT (the service refuses this one), UNAVAILABLE (max_attempts failed), or the
  // error of `make`. An error that it returns ends the run.
  using OnReply =
      std::function<absl::Status(std::int64_t index, const absl::StatusOr<ChatReply>& reply)>;

  // Asks `count` questions; OK when each was handed to `on_reply`. Otherwise what is in flight is
  // cut off, and
  //   RESOURCE_EXHAUSTED   one more request could exceed the budget
  //   PERMISSION_DENIED    the service refuses all requests (key, address, model), in its own words
  //   UNAVAILABLE          it is down, and was for give_up_seconds; or the ledger is not writable
  //   CANCELLED            *stop became true
  // `stop` may be null.
  absl::Status Run(std::int64_t count, const MakeRequest& make, const OnReply& on_reply,
                   const std::atomic<bool>* stop);

  EndpointStats stats() const;

 private:
  class Parts;
  explicit Endpoint(std::unique_ptr<Parts> parts);
  const std::unique_ptr<Parts> parts_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ENDPOINT_ENDPOINT_H_
