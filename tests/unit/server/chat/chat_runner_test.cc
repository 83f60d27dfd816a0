// The way from a request to an answer, on a real engine with a fake executor.
#include "server/chat/chat_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "base/field_error.h"
#include "base/mutex.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/fake_executor.h"

namespace llava::api {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const Digest kVersion = Sha256Of("v1");

// A value that another thread sets once.
template <typename T>
class Promise {
 public:
  void Set(T value) {
    MutexLock lock(&mutex_);
    value_.emplace(std::move(value));
    set_.NotifyAll();
  }
  T Wait() {
    MutexLock lock(&mutex_);
    while (!value_) set_.Wait(&mutex_);
    return *std::move(value_);
  }

 private:
  Mutex mutex_;
  CondVar set_;
  std::optional<T> value_ ABSL_GUARDED_BY(mutex_);
};

// One model; or none while `swapping`.
class Directory final : public registry::ModelDirectory {
 public:
  absl::StatusOr<std::shared_ptr<const registry::ServedModel>> Find(absl::string_view name,
                                                                    absl::string_view) override {
    MutexLock lock(&mutex_);
    if (swapping_) return absl::UnavailableError("a swap is under way");
    if (!name.empty() && name != "llava") return absl::NotFoundError("there is only llava");
    return model;
  }
  std::vector<std::shared_ptr<const registry::ServedModel>> List() override { return {model}; }
  bool AfterSwap(std::function<void()> then) override {
    MutexLock lock(&mutex_);
    if (!swapping_) return false;
    then_.push_back(std::move(then));
    return true;
  }
  bool IsJudging() override { return false; }
  void Observe(const Digest&, const registry::Observation&) override {}

  void BeginSwap() {
    MutexLock lock(&mutex_);
    swapping_ = true;
  }
  void EndSwap() {
    std::vector<std::function<void()>> then;
    {
      MutexLock lock(&mutex_);
      swapping_ = false;
      then.swap(then_);
    }
    for (const auto& call : then) call();
  }

  std::shared_ptr<const registry::ServedModel> model;

 private:
  Mutex mutex_;
  bool swapping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> then_ ABSL_GUARDED_BY(mutex_);
};

class ChatRunnerTest : public ::testing::Test {
 protected:
  ChatRunnerTest()
      : metrics_(&registry_),
        log_(observe::Log::ToNowhere(&clock_)),
        admission_({.total = kBounds, .per_tenant = kBounds}, &clock_),
        pool_(1, 1),
        runner_({.limits = {.max_text_bytes = 4000}}, &directory_, &admission_, &pool_, &metrics_,
                log_.get(), &clock_) {
    engine::EngineOptions options;
    options.scheduler.num_blocks = 64;
    options.scheduler.max_running = 4;
    options.scheduler.max_context_tokens = 256;
    engine_ = std::make_unique<engine::Engine>(
        options, std::make_unique<testing::FakeExecutor>(options.scheduler.num_blocks), &clock_,
        nullptr);
    engine_->Start();
    Promise<absl::Status> added;
    engine_->AddVersion(std::make_shared<testing::FakeModel>(kVersion),
                        [&added](absl::Status status) { added.Set(std::move(status)); });
    EXPECT_TRUE(added.Wait().ok());
    auto served = std::make_shared<registry::ServedModel>();
    served->name = "llava";
    served->version = kVersion.Hex();
    served->digest = kVersion;
    served->processor = *registry::Processor::Load(model::GoldenCheckpointDir(), "");
    served->engines = {engine_.get()};
    directory_.model = std::move(served);
  }
  ~ChatRunnerTest() override {
    pool_.Stop();
    engine_->Stop();
    EXPECT_TRUE(runner_.WaitUntilEmpty(TimePoint::max()));
    EXPECT_EQ(admission_.held().requests, 0);
  }

  // As gRPC's codec makes it.
  ChatCall Hello() {
    ChatCall call;
    call.protocol = "grpc";
    call.field_prefix = "request.";
    call.sampling_field = "sampling.";
    call.arrival = clock_.Now();
    call.sampling.max_tokens = 5;
    call.sampling.ignore_eos = true;
    call.messages = {{model::Role::kUser, {std::string("Hello")}}};
    return call;
  }

  absl::StatusOr<Answer> Ask(ChatCall call) {
    Promise<absl::StatusOr<Answer>> answer;
    runner_.Start(std::move(call),
                  [&answer](absl::StatusOr<Answer> got) { answer.Set(std::move(got)); });
    return answer.Wait();
  }

  void ExpectRefused(ChatCall call, const std::string& field) {
    const auto answer = Ask(std::move(call));
    EXPECT_TRUE(absl::IsInvalidArgument(answer.status())) << field;
    EXPECT_EQ(FieldOf(answer.status()), field);
    EXPECT_THAT(std::string(answer.status().message()), StartsWith(field + ": "));
  }

  static engine::End ReadAll(Answer& answer) {
    for (;;) {
      Promise<bool> ready;
      auto event = answer.TryPop([&ready] { ready.Set(true); });
      if (!event) {
        ready.Wait();
        continue;
      }
      if (auto* end = std::get_if<engine::End>(&*event)) return *std::move(end);
    }
  }

  // Keeps the only prepare thread busy until it is told to go on.
  class Busy {
   public:
    explicit Busy(PreparePool& pool) {
      Promise<bool> begun;
      EXPECT_TRUE(pool.TrySubmit([this, &begun] {
        begun.Set(true);
        go_on_.Wait();
        done_.Set(true);
      }));
      begun.Wait();
    }
    ~Busy() {
      go_on_.Set(true);
      done_.Wait();
    }

   private:
    Promise<bool> go_on_, done_;
  };

  static constexpr scheduling::AdmissionBounds kBounds{2, 1000, 5000, 1'000'000};

  RealClock clock_;
  prometheus::Registry registry_;
  observe::Metrics metrics_;
  const std::unique_ptr<observe::Log> log_;
  Directory directory_;
  engine::AdmissionGate admission_;
  PreparePool pool_;
  std::unique_ptr<engine::Engine> engine_;
  ChatRunner runner_;
};

TEST_F(ChatRunnerTest, ARequestBecomesAnAnswer) {
  auto answer = Ask(Hello());
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->model().name, "llava");
  const engine::End end = ReadAll(*answer);
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(end.usage.generated_tokens, 5);
  EXPECT_GT(end.usage.prompt_tokens, 1);
}

// Asked by bob: what alice sent is not found, until she and he share it.
TEST_F(ChatRunnerTest, CachesAreApartByTenantAndSalt) {
  const auto cached = [this](ChatRunner& runner, const char* tenant, const char* salt) {
    ChatCall call = Hello();
    call.messages[0].parts = {std::string("one two three four five six seven eight nine ten")};
    call.tenant = tenant;
    call.cache_salt = salt;
    Promise<absl::StatusOr<Answer>> got;
    runner.Start(std::move(call),
                 [&](absl::StatusOr<Answer> answer) { got.Set(std::move(answer)); });
    auto answer = got.Wait();
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? ReadAll(*answer).usage.cached_tokens : -1;
  };
  EXPECT_EQ(cached(runner_, "alice", ""), 0);
  EXPECT_GT(cached(runner_, "alice", ""), 0);
  EXPECT_EQ(cached(runner_, "bob", ""), 0);
  EXPECT_EQ(cached(runner_, "alice", "pepper"), 0);
  EXPECT_GT(cached(runner_, "alice", "pepper"), 0);
  EXPECT_EQ(cached(runner_, "bob", "pepper"), 0);
  ChatRunner sharing({.caches_by_tenant = false}, &directory_, &admission_, &pool_, &metrics_,
                     log_.get(), &clock_);
  EXPECT_EQ(cached(sharing, "alice", ""), 0);  // another domain than any tenant's
  EXPECT_GT(cached(sharing, "bob", ""), 0);
  EXPECT_EQ(cached(sharing, "bob", "pepper"), 0);
  EXPECT_GT(cached(sharing, "alice", "pepper"), 0);
  EXPECT_TRUE(sharing.WaitUntilEmpty(TimePoint::max()));
}

TEST_F(ChatRunnerTest, WhatAClientSaysWrongIsNamedByItsPath) {
  ChatCall call = Hello();
  call.sampling.top_p = 2;
  ExpectRefused(std::move(call), "request.sampling.top_p");
  call = Hello();
  call.n = 0;
  ExpectRefused(std::move(call), "request.n");
  call = Hello();
  call.messages.clear();
  ExpectRefused(std::move(call), "request.messages");
  call = Hello();
  call.messages[0].parts = {std::string(4001, 'x')};
  ExpectRefused(std::move(call), "request.messages");
  for (const std::string& salt : {std::string(257, 'x'), std::string("\xff")}) {
    call = Hello();
    call.cache_salt = salt;
    ExpectRefused(std::move(call), "request.cache_salt");
  }
  call = Hello();
  call.model = "nobody";
  EXPECT_EQ(FieldOf(Ask(std::move(call)).status()), "request.model");
}

TEST_F(ChatRunnerTest, WhatTheModelCannotTakeIsNamedByItsPath) {
  ChatCall call = Hello();
  call.sampling.stop_token_ids = {5, 999'999};
  ExpectRefused(std::move(call), "request.sampling.stop_token_ids[1]");
  call = Hello();
  call.messages.push_back({model::Role::kAssistant, {}});
  ExpectRefused(std::move(call), "request.messages[1]");
  call = Hello();
  call.images.push_back({.bytes = "no image", .field = "request.messages[0].parts[1].image"});
  call.messages[0].parts.emplace_back(model::ImagePart{.index = 0});
  ExpectRefused(std::move(call), "request.messages[0].parts[1].image");
}

TEST_F(ChatRunnerTest, WhatTheEngineCannotTakeIsNamedByItsPath) {
  ChatCall call = Hello();
  call.n = 5;  // of four places
  ExpectRefused(std::move(call), "request.n");
  call = Hello();
  std::string words;
  for (int i = 0; i < 300; ++i) words += "word ";
  call.messages[0].parts = {words};
  ExpectRefused(std::move(call), "request.messages");
}

TEST_F(ChatRunnerTest, NoMoreThanAdmissionLetsIn) {
  const scheduling::AdmissionCost one{.requests = 1, .tokens = 0, .bytes = 0, .pixels = 0};
  const auto first = admission_.Enter("a", one), second = admission_.Enter("b", one);
  ASSERT_TRUE(first.ok() && second.ok());
  const auto third = Ask(Hello());
  EXPECT_TRUE(absl::IsResourceExhausted(third.status()));
  EXPECT_TRUE(scheduling::RetryAfter(third.status()).has_value());
}

TEST_F(ChatRunnerTest, AFullPoolIsSaidAtOnce) {
  Promise<absl::StatusOr<Answer>> waiting;
  absl::StatusOr<Answer> refused;
  {
    const Busy busy(pool_);
    runner_.Start(Hello(), [&](absl::StatusOr<Answer> got) { waiting.Set(std::move(got)); });
    refused = Ask(Hello());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("wait to be prepared"));
  EXPECT_TRUE(scheduling::RetryAfter(refused.status()).has_value());
  auto answer = waiting.Wait();
  ASSERT_TRUE(answer.ok());
  ReadAll(*answer);
}

TEST_F(ChatRunnerTest, AClientThatHasGoneIsNotPrepared) {
  ChatCall call = Hello();
  call.cancelled = std::make_shared<std::atomic<bool>>(true);
  EXPECT_TRUE(absl::IsCancelled(Ask(std::move(call)).status()));
  call = Hello();
  call.deadline = call.arrival;
  EXPECT_TRUE(absl::IsDeadlineExceeded(Ask(std::move(call)).status()));
}

// In the thread that calls, which is the only one: waiting in the pool would be for ever.
TEST_F(ChatRunnerTest, APrepareThreadPreparesAtOnce) {
  Promise<absl::StatusOr<Answer>> answer;
  std::thread::id asked, answered;
  ASSERT_TRUE(pool_.TrySubmit([&] {
    asked = std::this_thread::get_id();
    runner_.StartInPool(Hello(), [&](absl::StatusOr<Answer> got) {
      answered = std::this_thread::get_id();
      answer.Set(std::move(got));
    });
  }));
  auto got = answer.Wait();
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(asked, answered);
  EXPECT_TRUE(ReadAll(*got).status.ok());
}

TEST_F(ChatRunnerTest, ACallWaitsForTheVersionThatComes) {
  directory_.BeginSwap();
  Promise<absl::StatusOr<Answer>> answer;
  runner_.Start(Hello(), [&](absl::StatusOr<Answer> got) { answer.Set(std::move(got)); });
  EXPECT_EQ(admission_.held().requests, 1);  // accepted
  directory_.EndSwap();
  auto got = answer.Wait();
  ASSERT_TRUE(got.ok()) << got.status();
  ReadAll(*got);
}

TEST_F(ChatRunnerTest, WhatIsAskedBesideChatGoesThroughTheSameDoors) {
  Promise<std::int64_t> held;
  Promise<bool> done;
  std::int64_t during = 0;
  ASSERT_TRUE(runner_
                  .RunBeside(
                      "alice", 100, [&] { during = admission_.held().bytes; },
                      [&] {
                        held.Set(admission_.held().bytes);
                        done.Set(true);
                      })
                  .ok());
  EXPECT_EQ(held.Wait(), 0);  // given back before anybody is told
  EXPECT_EQ(during, 100);
  done.Wait();
  const auto never = [] { ADD_FAILURE(); };
  EXPECT_TRUE(absl::IsInvalidArgument(runner_.RunBeside("alice", 6000, never, never)));
  {
    const Busy busy(pool_);
    EXPECT_TRUE(pool_.TrySubmit([] {}));  // the one place where jobs wait
    EXPECT_TRUE(absl::IsResourceExhausted(runner_.RunBeside("alice", 1, never, never)));
  }
}

TEST_F(ChatRunnerTest, ADrainingServerTakesNothing) {
  runner_.Drain();
  const auto answer = Ask(Hello());
  EXPECT_TRUE(absl::IsUnavailable(answer.status()));
  EXPECT_TRUE(scheduling::RetryAfter(answer.status()).has_value());
  EXPECT_TRUE(absl::IsUnavailable(runner_.RunBeside("", 1, [] {}, [] {})));
}

}  // namespace
}  // namespace llava::api
