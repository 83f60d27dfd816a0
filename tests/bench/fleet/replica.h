// One llavad in virtual time: the real scheduler, with a model of a GPU in the place of one.
#ifndef LLAVA_TESTS_BENCH_FLEET_REPLICA_H_
#define LLAVA_TESTS_BENCH_FLEET_REPLICA_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/sampled_token.h"
#include "server/scheduling/scheduler.h"
#include "tests/bench/fleet/virtual_gpu.h"

namespace llava::fleet {

// What became of one answer. Times are those of the client.
struct AnswerRecord {
  std::uint64_t id = 0;
  TimePoint sent{};
  std::optional<TimePoint> first_token;
  std::optional<TimePoint> end;
  std::vector<Duration> gaps;  // between tokens
  scheduling::Usage usage;
  bool ok = false;
};

struct ReplicaOptions {
  ModelShape shape;
  scheduling::SchedulerOptions scheduler;
  double slowness = 1;  // 2: every step takes twice as long
};

class Replica {
 public:
  explicit Replica(const ReplicaOptions& options);

  // The request comes to the queue at `now`.
  void Submit(TimePoint now, TimePoint sent, std::unique_ptr<scheduling::Request> request);

  // When the step that runs ends; nothing while idle.
  std::optional<TimePoint> next() const { return step_end_; }
  // The step that ends at next(), and the start of the one after it. Answers that ended go to
  // `done`.
  void Advance(std::vector<AnswerRecord>* done);

  // A new version: caches of the old one are of no use to what comes from now on.
  void Reload(TimePoint now);

  // What a balancer can know.
  std::size_t outstanding() const { return answers_.size(); }
  scheduling::SchedulerStats stats() const { return scheduler_.stats(); }

  // The ids of all that is under way: they are lost when the replica is.
  std::vector<AnswerRecord> Outstanding() const;

  const Digest& version() const { return version_; }

 private:
  void Tick(TimePoint now, std::vector<AnswerRecord>* done);

  const ReplicaOptions options_;
  scheduling::Scheduler scheduler_;
  Digest version_;
  int versions_ = 0;
  std::vector<scheduling::Event> events_;
  std::vector<SampledToken> tokens_;
  std::vector<std::uint8_t> stopped_;
  std::optional<TimePoint> step_end_;
  Duration step_time_{};
  std::unordered_map<std::uint64_t, AnswerRecord> answers_;
  std::unordered_map<std::uint64_t, TimePoint> last_token_;
};

}  // namespace llava::fleet

#endif  // LLAVA_TESTS_BENCH_FLEET_REPLICA_H_
