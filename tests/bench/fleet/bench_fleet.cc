// Many replicas of llavad behind a balancer, in virtual time: the real scheduler of each, on the
// virtual H200 of virtual_gpu.h, under conversations about pictures. What docs/scaling.md says
// comes from here.
//
//   bench_fleet [policies|patterns|troubles|autoscaling|large ...]     all without arguments
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "tests/bench/fleet/fleet.h"

namespace llava::fleet {
namespace {

constexpr std::int64_t kGiB = 1 << 30;
constexpr Duration kGoal = std::chrono::milliseconds(500);  // of a first token
// A replica's price; only ratios of costs mean anything.
constexpr double kDollarsPerHour = 3;
constexpr Duration kWarmUp = std::chrono::seconds(60);
constexpr Duration kWindow = std::chrono::seconds(120);

FleetOptions Options(int replicas, double questions_per_replica, Policy policy) {
  FleetOptions options;
  options.replicas = replicas;
  options.policy = policy;
  options.traffic.questions_per_second = questions_per_replica * replicas;
  options.replica.shape = ModelShape::SevenB();
  scheduling::SchedulerOptions& scheduler = options.replica.scheduler;
  // What `auto` chooses for LLaVA-1.5-7B on 141 GB with room for a second version.
  scheduler.num_blocks =
      static_cast<int>(103 * kGiB / (options.replica.shape.BytesPerToken() * kKvBlockTokens));
  scheduler.max_batch_tokens = 2048;
  scheduler.max_running = 256;
  scheduler.feature_bytes_per_token = 2 * options.replica.shape.hidden;
  return options;
}

void PrintHead(const char* title) {
  std::printf("\n%s (modelled, not measured)\n", title);
  std::printf("%-34s %9s %9s %9s %8s %9s %8s %9s %8s\n", "", "TTFT p50", "TTFT p99", "in 0.5 s",
              "gap p99", "answers/s", "cached", "encoded", "$/10^6");
}

void PrintRow(const std::string& name, const FleetResult& result, Duration window) {
  const double answers = static_cast<double>(result.answers.size());
  const double dollars = result.replica_seconds / 3600 * kDollarsPerHour / answers * 1e6;
  std::printf("%-34s %6.0f ms %6.0f ms %8.1f%% %5.0f ms %9.1f %7.0f%% %9.2f %8.0f\n", name.c_str(),
              1e3 * Seconds(result.FirstToken(0.5)), 1e3 * Seconds(result.FirstToken(0.99)),
              100 * result.Share(kGoal), 1e3 * Seconds(result.Gap(0.99)), answers / Seconds(window),
              100 * result.CachedShare(), result.EncodedPerQuestion(), dollars);
  std::fflush(stdout);
}

// The highest rate a replica at which 99 % of first tokens come within the goal, to 5 %.
double HighestRate(int replicas, Policy policy) {
  constexpr Duration kMinute = std::chrono::minutes(1);
  double low = 8;
  double high = 40;
  while (high / low > 1.05) {
    const double rate = std::sqrt(low * high);
    const FleetResult result = Fleet(Options(replicas, rate, policy)).Run(kMinute / 2, kMinute);
    (result.Share(kGoal) >= 0.99 ? low : high) = rate;
  }
  return low;
}

void Policies() {
  constexpr int kReplicas = 8;
  PrintHead("8 replicas, 16 questions a second each");
  for (const Policy policy : kPolicies) {
    Fleet fleet(Options(kReplicas, 16, policy));
    PrintRow(PolicyName(policy), fleet.Run(kWarmUp, kWindow), kWindow);
  }
  std::printf("\nquestions a second and replica at 99 %% of first tokens within 0.5 s\n");
  for (const Policy policy : kPolicies) {
    std::printf("%-34s %9.1f\n", PolicyName(policy).c_str(), HighestRate(kReplicas, policy));
    std::fflush(stdout);
  }
}

void Patterns() {
  PrintHead("8 replicas, bursts: five times the rate for ten seconds of each minute");
  for (const Policy policy : kPolicies) {
    FleetOptions options = Options(8, 10, policy);
    options.traffic.pattern = Pattern::kBursts;
    PrintRow(PolicyName(policy), Fleet(options).Run(kWarmUp, kWindow), kWindow);
  }
}

// The same fleet with one thing gone wrong in the middle of the window.
template <typename Trouble>
void WithTrouble(const std::string& name, Policy policy, int replicas, Trouble trouble) {
  Fleet fleet(Options(replicas, 12, policy));
  trouble(fleet);
  const FleetResult result = fleet.Run(kWarmUp, kWindow);
  PrintRow(name + ", " + PolicyName(policy), result, kWindow);
}

void Troubles() {
  const TimePoint middle = TimePoint{} + kWarmUp + kWindow / 4;
  PrintHead("9 replicas, 12 questions a second each");
  for (const Policy policy : {Policy::kRoundRobin, Policy::kLeastOutstanding, Policy::kPowerOfTwo,
                              Policy::kByConversation}) {
    WithTrouble("calm", policy, 9, [](Fleet&) {});
    WithTrouble("all reload at once", policy, 9, [&](Fleet& fleet) {
      fleet.At(middle, [&fleet] {
        for (std::size_t i = 0; i < fleet.size(); ++i) fleet.Reload(i);
      });
    });
    WithTrouble("reload one by one, 5 s", policy, 9, [&](Fleet& fleet) {
      for (std::size_t i = 0; i < fleet.size(); ++i) {
        fleet.At(middle + i * std::chrono::seconds(5), [&fleet, i] { fleet.Reload(i); });
      }
    });
    WithTrouble("a zone of three is lost", policy, 9, [&](Fleet& fleet) {
      fleet.At(middle, [&fleet] {
        for (std::size_t i = 0; i < 3; ++i) fleet.Lose(i);
      });
    });
    WithTrouble("one more, half as fast", policy, 8,
                [](Fleet& fleet) { fleet.Add(Duration(0), 2); });
  }
}

// As KEDA does with a metric of requests under way: looks every 15 s, scales up at once and down
// after five minutes of less.
class Autoscaler {
 public:
  Autoscaler(Fleet* fleet, double outstanding_per_replica, Duration start)
      : fleet_(fleet), target_(outstanding_per_replica), start_(start) {
    Look();
  }

 private:
  static constexpr Duration kEvery = std::chrono::seconds(15);
  static constexpr std::size_t kLooksBeforeDown = 20;

  void Look() {
    const auto wanted = std::max<std::size_t>(
        1, static_cast<std::size_t>(static_cast<double>(fleet_->outstanding()) / target_ + 1));
    recent_.push_back(wanted);
    if (recent_.size() > kLooksBeforeDown) recent_.erase(recent_.begin());
    const std::size_t down_to = *std::max_element(recent_.begin(), recent_.end());
    while (started_ < wanted) {
      fleet_->Add(start_);
      ++started_;
    }
    for (std::size_t i = fleet_->size(); i-- > 0 && started_ > down_to && fleet_->ready() > 1;) {
      if (!fleet_->IsReady(i)) continue;
      fleet_->Drain(i);
      --started_;
    }
    fleet_->At(fleet_->now() + kEvery, [this] { Look(); });
  }

  Fleet* const fleet_;
  const double target_;
  const Duration start_;
  std::size_t started_ = 2;  // as many as the fleet begins with
  std::vector<std::size_t> recent_;
};

void Autoscaling() {
  constexpr Duration kHour = std::chrono::hours(1);
  PrintHead("an hour like a day: 4 to 36 questions a second");
  const auto options = [](int replicas) {
    FleetOptions made = Options(replicas, 20.0 / replicas, Policy::kLeastOutstanding);
    made.traffic.pattern = Pattern::kDay;
    return made;
  };
  for (const int replicas : {2, 3, 4}) {
    PrintRow(std::to_string(replicas) + " replicas, fixed", Fleet(options(replicas)).Run({}, kHour),
             kHour);
  }
  for (const double target : {16.0, 32.0, 64.0}) {
    for (const int seconds : {30, 180}) {
      Fleet fleet(options(2));
      const Autoscaler scaler(&fleet, target, std::chrono::seconds(seconds));
      PrintRow(std::to_string(static_cast<int>(target)) + " under way each, start " +
                   std::to_string(seconds) + " s",
               fleet.Run({}, kHour), kHour);
    }
  }
}

void Large() {
  constexpr Duration kShort = std::chrono::seconds(20);
  PrintHead("more replicas, 14 questions a second each");
  for (const int replicas : {1, 10, 100, 1000}) {
    for (const Policy policy : {Policy::kRoundRobin, Policy::kLeastOutstanding, Policy::kPowerOfTwo,
                                Policy::kByConversation}) {
      Fleet fleet(Options(replicas, 14, policy));
      PrintRow(std::to_string(replicas) + ", " + PolicyName(policy), fleet.Run(kShort, kShort),
               kShort);
    }
  }
}

struct Part {
  const char* name;
  void (*run)();
};
constexpr Part kParts[] = {{"policies", Policies},
                           {"patterns", Patterns},
                           {"troubles", Troubles},
                           {"autoscaling", Autoscaling},
                           {"large", Large}};

}  // namespace
}  // namespace llava::fleet

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const auto is_it = [&](const auto& part) { return std::strcmp(part.name, argv[i]) == 0; };
    if (std::any_of(std::begin(llava::fleet::kParts), std::end(llava::fleet::kParts), is_it))
      continue;
    std::fprintf(stderr,
                 "bench_fleet: '%s', expected policies, patterns, troubles, autoscaling or large\n",
                 argv[i]);
    return 2;
  }
  for (const auto& part : llava::fleet::kParts) {
    const bool asked = std::any_of(
        argv + 1, argv + argc, [&](const char* name) { return std::strcmp(part.name, name) == 0; });
    if (argc == 1 || asked) part.run();
  }
  return 0;
}
