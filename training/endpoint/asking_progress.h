// How far a run of questions is, as lines for a person: done, rate, cost and time left.
#ifndef LLAVA_TRAINING_ENDPOINT_ASKING_PROGRESS_H_
#define LLAVA_TRAINING_ENDPOINT_ASKING_PROGRESS_H_

#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "training/endpoint/endpoint.h"

namespace llava::training {

// For the thread of Endpoint::Run. All arguments outlive it.
class AskingProgress {
 public:
  // Of `all` questions `done` have an answer already, and are not asked.
  AskingProgress(const Clock& clock, const Endpoint& endpoint,
                 const std::function<void(const std::string&)>& say, std::int64_t done,
                 std::int64_t all);

  // One more has its answer. Says so every five seconds, and of the last one. What was known before
  // takes no time: it is done, and says nothing about the rate.
  void Answered();

 private:
  const Clock& clock_;
  const Endpoint& endpoint_;
  const std::function<void(const std::string&)>& say_;
  const TimePoint began_;
  const std::int64_t known_;  // answers that the ledger had before
  const std::int64_t done_before_, all_;
  std::int64_t done_;
  TimePoint said_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ENDPOINT_ASKING_PROGRESS_H_
