// Replicas behind a balancer, and people who ask, in virtual time.
#ifndef LLAVA_TESTS_BENCH_FLEET_FLEET_H_
#define LLAVA_TESTS_BENCH_FLEET_FLEET_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "tests/bench/fleet/replica.h"
#include "tests/bench/fleet/router.h"
#include "tests/bench/fleet/traffic.h"

namespace llava::fleet {

struct FleetOptions {
  int replicas = 8;
  ReplicaOptions replica;
  TrafficOptions traffic;
  Policy policy = Policy::kLeastOutstanding;
  Duration scrape = std::chrono::milliseconds(50);  // of metrics, by the endpoint picker
  std::uint64_t seed = 1;
};

struct FleetResult {
  std::vector<AnswerRecord> answers;  // that were asked for in the window
  double replica_seconds = 0;         // of the window, ready or starting
  int retries = 0;                    // questions whose replica was lost

  double Share(Duration first_token_within) const;                     // of the answers, in [0, 1]
  double Goodput(Duration first_token_within, Duration window) const;  // answers a second
  Duration FirstToken(double quantile) const;
  Duration Gap(double quantile) const;
  double CachedShare() const;         // of the prompts' tokens
  double EncodedPerQuestion() const;  // pictures
};

class Fleet {
 public:
  explicit Fleet(const FleetOptions& options);

  // What happens at a time beside questions.
  void At(TimePoint when, std::function<void()> what);

  // Runs for `warm_up`, and then for `window`, whose questions count; the answers are waited for.
  FleetResult Run(Duration warm_up, Duration window);

  TimePoint now() const { return now_; }
  std::size_t size() const { return replicas_.size(); }
  bool IsReady(std::size_t index) const { return ready_[index]; }
  std::size_t ready() const;
  std::size_t outstanding() const { return calls_.size(); }

  void Reload(std::size_t index);
  // All that was under way there is asked again elsewhere.
  void Lose(std::size_t index);
  // Takes no more; ends what it has.
  void Drain(std::size_t index);
  // One more replica, which is ready after `start` and is paid for from now.
  void Add(Duration start, double slowness = 1);

 private:
  struct Call {
    Conversation conversation;
    int answer_tokens = 0;
    TimePoint sent{};
    std::size_t replica = 0;
  };
  struct Event {
    TimePoint at;
    std::uint64_t order = 0;
    std::function<void()> run;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };

  void ScheduleArrival();
  void Ask(Conversation conversation);
  void Send(std::uint64_t id);
  void ScheduleStep(std::size_t index);
  void Step(std::size_t index);
  void Finish(AnswerRecord answer);
  std::vector<ReplicaView> Views();
  void Scrape();
  void Pay();
  void Release(std::size_t index);

  const FleetOptions options_;
  Traffic traffic_;
  Router router_;
  TimePoint now_{};
  TimePoint from_{}, to_{};  // the window
  std::priority_queue<Event> events_;
  std::uint64_t last_order_ = 0;
  std::uint64_t last_id_ = 0;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::vector<bool> ready_;
  std::vector<bool> paid_;
  std::vector<bool> scheduled_;    // its step has an event
  std::vector<std::size_t> sent_;  // to it and not answered, on their way there included
  std::vector<ReplicaView> scraped_;
  TimePoint last_scrape_{};
  TimePoint paid_until_{};
  std::unordered_map<std::uint64_t, Call> calls_;
  FleetResult result_;
};

}  // namespace llava::fleet

#endif  // LLAVA_TESTS_BENCH_FLEET_FLEET_H_
