// All of a small world: 3 requests on 4 KV blocks, every combination of arrival times, sizes,
// cancels, slow readers and step failures from a fixed menu. Prints how many worlds there were.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/scheduling/invariants.h"
#include "server/scheduling/request_check.h"
#include "tests/simulation/client.h"
#include "tests/simulation/step_watch.h"
#include "tests/support/fake_executor.h"

namespace llava::simulation {
namespace {

constexpr int kRequests = 3;
constexpr int kBlocks = 4;
constexpr int kContext = kBlocks * kKvBlockTokens;
constexpr int kMaxTicks = 400;
constexpr testing::FakeCosts kCosts{.step = std::chrono::microseconds(500),
                                    .token = std::chrono::microseconds(10)};
// So little that a prompt beside a reader is cut.
constexpr Duration kStepTime = std::chrono::microseconds(600);

// Enumerates every sequence of choices: each Pick(n) takes all of its n values, one run after the
// other (the odometer's last digit first).
class Enumeration {
 public:
  int Pick(int n) {
    if (next_ == digits_.size()) digits_.push_back({0, n});
    return digits_[next_++].value;
  }

  // False when every combination was had.
  bool Advance() {
    next_ = 0;
    while (!digits_.empty()) {
      if (++digits_.back().value < digits_.back().count) return true;
      digits_.pop_back();
    }
    return false;
  }

 private:
  struct Digit {
    int value;
    int count;
  };
  std::vector<Digit> digits_;
  std::size_t next_ = 0;
};

struct Story {
  int arrives = 0;   // tick
  int cancels = -1;  // tick; -1: never
  int stalls = -1;   // from this tick on, for 12 ticks
  ClientSpec spec;
};

Story PickStory(Enumeration& all, const Digest& version, int number) {
  static constexpr int kPrompts[] = {3, 16, 33};
  static constexpr int kAnswers[] = {20, 31, 14};
  Story story;
  story.arrives = number == 0 ? 0 : all.Pick(2) * 2;
  const int size = all.Pick(3);
  // Nobody, an early and a late cancel, or a reader that does not read.
  switch (all.Pick(4)) {
    case 1:
      story.cancels = story.arrives + 1;
      break;
    case 2:
      story.cancels = 9;
      break;
    case 3:
      story.stalls = 2;
      break;
    default:
      break;
  }
  scheduling::Request& request = story.spec.request;
  request.version = version;
  // The second one shares its beginning with the first; the third one has two choices.
  for (int i = 0; i < kPrompts[size]; ++i) request.prompt_ids.push_back(number == 2 ? 40 + i : i);
  request.sampling.max_tokens = kAnswers[size];
  request.n = number == 2 ? 2 : 1;
  return story;
}

class SmallWorld {
 public:
  explicit SmallWorld(Enumeration& all) {
    const Digest version = Sha256Of("version");
    engine::EngineOptions options;
    options.scheduler.num_blocks = kBlocks;
    options.scheduler.max_batch_tokens = 20;
    options.scheduler.max_running = 4;
    options.scheduler.max_context_tokens = kContext;
    options.scheduler.draft_tokens = 3;
    options.stream_tokens = 2;
    if (all.Pick(2) == 1) options.scheduler.max_step_time = kStepTime;
    auto executor = std::make_unique<testing::FakeExecutor>(kBlocks, &clock_, kCosts);
    executor->behind = all.Pick(2) == 1;
    fails_at_ = all.Pick(3) * 3 - 1;  // never, or at tick 2 or 5
    const bool memory = fails_at_ >= 0 && all.Pick(2) == 1;
    whole_steps_ = !memory;
    executor->before_forward = [this, memory](const scheduling::StepPlan&) {
      if (tick_ != fails_at_) return absl::OkStatus();
      return memory ? absl::ResourceExhaustedError("memory") : absl::InternalError("failure");
    };
    engine_ = std::make_unique<engine::Engine>(options, std::move(executor), &clock_, nullptr);
    engine_->AddVersion(std::make_shared<testing::FakeModel>(version), [](const absl::Status&) {});
    for (int i = 0; i < kRequests; ++i) stories_.push_back(PickStory(all, version, i));
    clients_.resize(kRequests);
  }
  ~SmallWorld() { engine_->Stop(); }

  absl::Status Run() {
    for (tick_ = 0; tick_ < kMaxTicks; ++tick_) {
      bool all_ended = true;
      for (std::size_t i = 0; i < clients_.size(); ++i) {
        RETURN_IF_ERROR(Act(i));
        if (!clients_[i] || !clients_[i]->ended()) all_ended = false;
      }
      if (all_ended) return CheckEmpty();
      clock_.Advance(std::chrono::milliseconds(1));
      engine_->RunOnce();
      RETURN_IF_ERROR(scheduling::CheckInvariants(engine_->scheduler()));
      RETURN_IF_ERROR(watch_.Check(engine_->scheduler(), whole_steps_));
    }
    return absl::InternalError("not all requests ended");
  }

  int ticks() const { return tick_; }

 private:
  absl::Status Act(std::size_t i) {
    const Story& story = stories_[i];
    if (!clients_[i] && story.arrives == tick_) {
      auto client = Client::Send(*engine_, {}, story.spec, kContext);
      if (!client.ok()) return client.status();
      clients_[i] = *std::move(client);
    }
    if (!clients_[i]) return absl::OkStatus();
    Client& client = *clients_[i];
    const bool was_cancelled = client.cancelled();
    if (tick_ == story.cancels && !client.ended()) RETURN_IF_ERROR(client.Cancel());
    const bool stalled = story.stalls >= 0 && tick_ >= story.stalls && tick_ < story.stalls + 12;
    if (!stalled) RETURN_IF_ERROR(client.Read(1 << 10));
    if (was_cancelled && !client.ended()) return absl::InternalError("cancelled and not ended");
    return absl::OkStatus();
  }

  absl::Status CheckEmpty() {
    if (engine_->scheduler().planner().kv().pool().used() != 0) {
      return absl::InternalError("blocks are left");
    }
    for (const auto& client : clients_) {
      const absl::StatusCode code = client->end().status.code();
      const bool expected = code == absl::StatusCode::kOk ||
                            (code == absl::StatusCode::kCancelled && client->cancelled()) ||
                            (code == absl::StatusCode::kInternal && fails_at_ >= 0);
      if (!expected) return client->end().status;
    }
    return absl::OkStatus();
  }

  ManualClock clock_;
  std::unique_ptr<engine::Engine> engine_;
  std::vector<Story> stories_;
  std::vector<std::optional<Client>> clients_;
  int tick_ = 0;
  int fails_at_ = -1;
  bool whole_steps_ = true;
  StepWatch watch_{kCosts};
};

int Main() {
  Enumeration all;
  long worlds = 0;
  long ticks = 0;
  do {
    SmallWorld world(all);
    const absl::Status status = world.Run();
    if (!status.ok()) {
      std::printf("FAILED world %ld, tick %d: %s\n", worlds, world.ticks(),
                  status.ToString().c_str());
      return EXIT_FAILURE;
    }
    ++worlds;
    ticks += world.ticks();
  } while (all.Advance());
  std::printf("%ld worlds, %ld ticks\n", worlds, ticks);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace llava::simulation

int main() { return llava::simulation::Main(); }
