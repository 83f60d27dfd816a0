// Sends chat requests by a plan and measures how they are answered.
//
// Closed loop: a fixed number of requests is always under way. Open loop: requests are sent at
// random times (Poisson) whether or not earlier ones have been answered, as real users do.
#ifndef LLAVA_CLIENT_LOAD_GENERATOR_H_
#define LLAVA_CLIENT_LOAD_GENERATOR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "client/bench_result.h"
#include "client/connection.h"

namespace llava::client {

struct LoadOptions {
  std::uint64_t seed = 1;
  int requests = 64;
  int concurrency = 8;  // closed loop
  double rate = 0;      // requests a second; above 0: open loop
  int images = 1;       // of one request
  int image_side = 336;
  int distinct_images = 0;  // different ones; 0: every request has its own
  int prompt_words = 16;
  int max_tokens = 64;
  double temperature = 0;
  double top_p = 1;
};

// One run at a time. Uses gRPC's own threads; Run waits in the caller's.
class LoadGenerator {
 public:
  // All outlive the generator.
  LoadGenerator(const Connection* connection, v1::ChatService::Stub* stub, const Clock* clock)
      : connection_(connection), stub_(stub), clock_(clock) {}

  // In the order they were sent.
  std::vector<Sample> Run(const LoadOptions& options);

 private:
  class Call;
  v1::ChatRequest MakeRequest(const LoadOptions& options, Rng* rng) const;
  void WaitForRoom(int concurrency);
  void WaitUntil(TimePoint due);
  void Ended();

  const Connection* const connection_;
  v1::ChatService::Stub* const stub_;
  const Clock* const clock_;
  Mutex mutex_;
  CondVar changed_;
  int under_way_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace llava::client

#endif  // LLAVA_CLIENT_LOAD_GENERATOR_H_
