// The engine with its own thread, real clients' threads and the fake executor.
#include "server/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/rng.h"
#include "server/scheduling/admission.h"
#include "tests/support/fake_executor.h"

namespace llava::engine {
namespace {

using ::testing::HasSubstr;

const Digest kVersion = Sha256Of("v1");

// A value that another thread sets once.
template <typename T>
class Promise {
 public:
  void Set(T value) {
    MutexLock lock(&mutex_);
    value_ = std::move(value);
    set_.NotifyAll();
  }
  T Wait() {
    MutexLock lock(&mutex_);
    while (!value_) set_.Wait(&mutex_);
    return *value_;
  }

 private:
  Mutex mutex_;
  CondVar set_;
  std::optional<T> value_ ABSL_GUARDED_BY(mutex_);
};

// How many steps cancelled requests still saw begin.
struct CancelObserver : Observer {
  void OnCancelled(std::uint64_t steps) override {
    ++cancelled;
    if (steps > most) most = steps;
  }
  std::atomic<int> cancelled = 0;
  std::atomic<std::uint64_t> most = 0;
};

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() : EngineTest(Options()) {}
  explicit EngineTest(const EngineOptions& options) : gate_({}, &clock_) {
    auto executor = std::make_unique<testing::FakeExecutor>(options.scheduler.num_blocks);
    executor_ = executor.get();
    engine_ = std::make_unique<Engine>(options, std::move(executor), &clock_, &observer_);
  }
  ~EngineTest() override {
    if (engine_ != nullptr) engine_->Stop();
  }

  static EngineOptions Options() {
    EngineOptions options;
    options.scheduler.num_blocks = 128;
    options.scheduler.max_batch_tokens = 64;
    options.scheduler.max_running = 16;
    options.scheduler.max_context_tokens = 512;
    return options;
  }

  void Start() {
    engine_->Start();
    EXPECT_TRUE(Add(kVersion).ok());
  }

  absl::Status Add(const Digest& version) {
    Promise<absl::Status> done;
    engine_->AddVersion(std::make_shared<testing::FakeModel>(version),
                        [&done](absl::Status status) { done.Set(std::move(status)); });
    return done.Wait();
  }

  absl::Status Remove(const Digest& version) {
    Promise<absl::Status> done;
    engine_->RemoveVersion(version, [&done](absl::Status status) { done.Set(std::move(status)); });
    return done.Wait();
  }

  static scheduling::Request MakeRequest(int prompt, int max_tokens, int base = 0) {
    scheduling::Request request;
    request.version = kVersion;
    for (int i = 0; i < prompt; ++i) request.prompt_ids.push_back(base + i);
    request.sampling.max_tokens = max_tokens;
    return request;
  }

  absl::StatusOr<TokenStream> Submit(scheduling::Request request) {
    request.arrival = clock_.Now();
    auto ticket =
        gate_.Enter(request.tenant, {.requests = 1, .tokens = 0, .bytes = 0, .pixels = 0});
    if (!ticket.ok()) return ticket.status();
    return engine_->Submit({std::move(request), *std::move(ticket),
                            [] { return std::make_unique<testing::FakeTextDecoder>(-1); }});
  }

  // Everything until the end; checks the tokens against the oracle.
  static End ReadAll(TokenStream& stream, const scheduling::Request& request) {
    std::vector<std::int32_t> tokens;
    std::string text;
    while (auto event = stream.Pop()) {
      if (auto* end = std::get_if<End>(&*event)) {
        if (end->status.ok()) {
          const auto expected = testing::FakeAnswer(request, 0, request.sampling.max_tokens);
          EXPECT_EQ(tokens, expected);
          std::string expected_text;
          for (const auto token : expected) expected_text += " " + std::to_string(token);
          EXPECT_EQ(text, expected_text);
        }
        return *std::move(end);
      }
      const Delta& delta = std::get<Delta>(*event);
      text += delta.text;
      for (const auto& token : delta.tokens) tokens.push_back(token.token);
    }
    ADD_FAILURE() << "no end";
    return {};
  }

  RealClock clock_;
  AdmissionGate gate_;
  CancelObserver observer_;
  testing::FakeExecutor* executor_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, AnswersAsTheOracle) {
  Start();
  const scheduling::Request request = MakeRequest(50, 20);
  auto stream = Submit(request);
  ASSERT_TRUE(stream.ok());
  const End end = ReadAll(*stream, request);
  EXPECT_TRUE(end.status.ok());
  EXPECT_EQ(end.version, kVersion);
  EXPECT_EQ(end.usage.generated_tokens, 20);
  EXPECT_EQ(gate_.held().requests, 0);
}

TEST_F(EngineTest, AnswersAsTheOracleOnADeviceThatRunsBehind) {
  executor_->behind = true;
  Start();
  std::vector<scheduling::Request> requests;
  std::vector<TokenStream> streams;
  for (int i = 0; i < 4; ++i) {
    requests.push_back(MakeRequest(30 + i, 10 + 5 * i, /*base=*/i));
    auto stream = Submit(requests.back());
    ASSERT_TRUE(stream.ok());
    streams.push_back(*std::move(stream));
  }
  for (std::size_t i = 0; i < streams.size(); ++i) {
    EXPECT_TRUE(ReadAll(streams[i], requests[i]).status.ok());
  }
  EXPECT_EQ(gate_.held().requests, 0);
}

// A decoder whose stop string is complete only with the text that it held back until the end.
class StopsAtTheEnd final : public TextDecoder {
 public:
  Delta Push(std::int32_t) override { return {.text = "x", .stopped = false}; }
  Delta Finish() override { return {.text = "y", .stopped = true}; }
};

TEST_F(EngineTest, AStopStringInTheLastHeldBackTextIsWhyTheAnswerEnds) {
  Start();
  scheduling::Request request = MakeRequest(5, 3);
  request.arrival = clock_.Now();
  auto stream = engine_->Submit({request, {}, [] { return std::make_unique<StopsAtTheEnd>(); }});
  ASSERT_TRUE(stream.ok());
  std::string text;
  scheduling::FinishReason finish = scheduling::FinishReason::kNone;
  while (auto event = stream->Pop()) {
    const auto* delta = std::get_if<Delta>(&*event);
    if (delta == nullptr) continue;
    text += delta->text;
    finish = delta->finish;
  }
  EXPECT_EQ(text, "xxxy");
  EXPECT_EQ(finish, scheduling::FinishReason::kStop);
}

TEST_F(EngineTest, ManyClientsReadCancelAndDrop) {
  Start();
  std::atomic<int> ended = 0;
  {
    std::vector<std::jthread> clients;
    for (int c = 0; c < 8; ++c) {
      clients.emplace_back([this, c, &ended] {
        Rng rng(static_cast<std::uint64_t>(c));
        for (int i = 0; i < 40; ++i) {
          const scheduling::Request request =
              MakeRequest(static_cast<int>(rng.Between(1, 100)),
                          static_cast<int>(rng.Between(1, 60)), static_cast<int>(rng.Below(3)));
          auto stream = Submit(request);
          ASSERT_TRUE(stream.ok()) << stream.status();
          const auto action = rng.Below(4);
          if (action == 0) continue;  // drops it at once
          if (action == 1) stream->Pop();
          if (action == 1) stream->Cancel();
          if (action == 1) {
            while (stream->Pop()) continue;
          } else {
            EXPECT_TRUE(ReadAll(*stream, request).status.ok());
          }
          ++ended;
        }
      });
    }
  }
  EXPECT_GT(ended, 100);
  EXPECT_TRUE(engine_->Drain(clock_.Now() + std::chrono::seconds(30)));
  EXPECT_EQ(gate_.held().requests, 0);
  EXPECT_EQ(engine_->load(), 0);
  engine_->Stop();
  EXPECT_GT(observer_.cancelled, 0);
  EXPECT_LE(observer_.most, 1u);
  EXPECT_EQ(engine_->stats().scheduler.blocks_used, 0);
  EXPECT_EQ(engine_->stats().scheduler.requests, 0);
}

TEST_F(EngineTest, ASlowReaderDoesNotHoldUpOthers) {
  Start();
  const scheduling::Request slow_request = MakeRequest(10, 400);
  auto slow = Submit(slow_request);
  ASSERT_TRUE(slow.ok());
  auto first = slow->Pop();
  ASSERT_TRUE(first.has_value());
  for (int i = 0; i < 5; ++i) {
    const scheduling::Request request = MakeRequest(10, 200, 7);
    auto stream = Submit(request);
    ASSERT_TRUE(stream.ok());
    EXPECT_TRUE(ReadAll(*stream, request).status.ok());
  }
  const scheduling::SchedulerStats stats = engine_->stats().scheduler;
  EXPECT_EQ(stats.paused, 1);
  EXPECT_LT(stats.generated_tokens, 5 * 200 + 2 * 64 + 4u);
  std::size_t tokens = std::get<Delta>(*first).tokens.size();
  while (auto event = slow->Pop()) {
    if (const auto* delta = std::get_if<Delta>(&*event)) tokens += delta->tokens.size();
  }
  EXPECT_EQ(tokens, 400u);
}

TEST_F(EngineTest, DrainRefusesNewAndFinishesOld) {
  Start();
  const scheduling::Request request = MakeRequest(10, 50);
  auto stream = Submit(request);
  ASSERT_TRUE(stream.ok());
  std::jthread reader([&] { EXPECT_TRUE(ReadAll(*stream, request).status.ok()); });
  EXPECT_TRUE(engine_->Drain(clock_.Now() + std::chrono::seconds(30)));
  EXPECT_EQ(Submit(request).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, StopEndsWhatIsLeft) {
  Start();
  auto stream = Submit(MakeRequest(10, 400));  // paused: nobody reads
  ASSERT_TRUE(stream.ok());
  ASSERT_TRUE(stream->Pop().has_value());
  EXPECT_FALSE(engine_->Drain(clock_.Now()));
  engine_->Stop();
  End end;
  while (auto event = stream->Pop()) {
    if (auto* last = std::get_if<End>(&*event)) end = *last;
  }
  EXPECT_EQ(end.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Add(Sha256Of("late")).code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, TheDestructorStopsItWhenNobodyHas) {
  Start();
  auto stream = Submit(MakeRequest(10, 400));
  ASSERT_TRUE(stream.ok());
  ASSERT_TRUE(stream->Pop().has_value());
  engine_.reset();
  End end;
  while (auto event = stream->Pop()) {
    if (auto* last = std::get_if<End>(&*event)) end = *last;
  }
  EXPECT_EQ(end.status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, AFailureInAStepFailsItsRequestAndTheLoopGoesOn) {
  std::atomic<bool> fail = true;
  executor_->before_forward = [&fail](const scheduling::StepPlan&) {
    return fail.exchange(false) ? absl::InternalError("kernel launch") : absl::OkStatus();
  };
  Start();
  const scheduling::Request request = MakeRequest(10, 5);
  auto first = Submit(request);
  ASSERT_TRUE(first.ok());
  const End end = ReadAll(*first, request);
  EXPECT_EQ(end.status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("kernel launch"));
  auto second = Submit(request);
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(ReadAll(*second, request).status.ok());
}

// As when no token may come next in an answer that has to have a form.
TEST_F(EngineTest, ASampleThatFailsEndsItsRequestAlone) {
  const scheduling::Request bad = MakeRequest(10, 50, /*base=*/500);
  const scheduling::Request good = MakeRequest(10, 50);
  executor_->after_forward = [](const scheduling::StepPlan& plan, scheduling::StepResult* result) {
    for (std::size_t i = 0; i < plan.samples.size(); ++i) {
      const scheduling::Sample& sample = plan.samples[i];
      if (sample.prompt_ids[0] != 500 || sample.output_ids.size() < 3) continue;
      result->failed.emplace_back(static_cast<int>(i), absl::InvalidArgumentError("no token"));
      result->tokens[i].token = 12345;
    }
  };
  Start();
  auto failing = Submit(bad);
  auto going_on = Submit(good);
  ASSERT_TRUE(failing.ok() && going_on.ok());
  std::size_t tokens = 0;
  while (auto event = failing->Pop()) {
    if (const auto* end = std::get_if<End>(&*event)) {
      EXPECT_EQ(end->status, absl::InvalidArgumentError("no token"));
      break;
    }
    for (const SampledToken& token : std::get<Delta>(*event).tokens) {
      EXPECT_NE(token.token, 12345);
      ++tokens;
    }
  }
  EXPECT_EQ(tokens, 3u);
  EXPECT_TRUE(ReadAll(*going_on, good).status.ok());
}

TEST_F(EngineTest, VersionsComeAndGo) {
  Start();
  EXPECT_EQ(Add(kVersion).code(), absl::StatusCode::kAlreadyExists);
  const Digest other = Sha256Of("v2");
  EXPECT_EQ(Remove(other).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(Add(other).ok());
  scheduling::Request request = MakeRequest(10, 30);
  request.version = other;
  auto stream = Submit(request);
  ASSERT_TRUE(stream.ok());
  std::jthread reader([&] { EXPECT_TRUE(ReadAll(*stream, request).status.ok()); });
  EXPECT_TRUE(Remove(other).ok());  // after the request
  auto late = Submit(request);
  ASSERT_TRUE(late.ok());
  EXPECT_EQ(ReadAll(*late, request).status.code(), absl::StatusCode::kNotFound);
}

TEST_F(EngineTest, RefusesWhatIsMalformedOrTooMuch) {
  EXPECT_EQ(Submit(MakeRequest(0, 5)).status().code(), absl::StatusCode::kInvalidArgument);
  std::vector<TokenStream> queued;  // the engine does not run: the inbox fills
  absl::Status refusal;
  for (int i = 0; i < 2000 && refusal.ok(); ++i) {
    scheduling::Request request = MakeRequest(3, 5);
    auto stream = engine_->Submit(
        {std::move(request), {}, [] { return std::make_unique<testing::FakeTextDecoder>(-1); }});
    if (stream.ok()) {
      queued.push_back(*std::move(stream));
    } else {
      refusal = stream.status();
    }
  }
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(scheduling::RetryAfter(refusal).has_value());
  EXPECT_EQ(queued.size(), 1024u);
}

}  // namespace
}  // namespace llava::engine
