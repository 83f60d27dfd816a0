// The way from a request to an answer, on a real engine with a fake executor.
#include "server/chat/chat_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/unit/server/chat/chat_runner_fixture.h"

namespace llava::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using ChatRunnerTest = ChatRunnerFixture;

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
  ChatRunner sharing({.limits = {}, .caches_by_tenant = false}, &directory_, &admission_, &pool_,
                     &metrics_, log_.get(), &clock_);
  EXPECT_EQ(cached(sharing, "alice", ""), 0);  // another domain than any tenant's
  EXPECT_GT(cached(sharing, "bob", ""), 0);
  EXPECT_EQ(cached(sharing, "bob", "pepper"), 0);
  EXPECT_GT(cached(sharing, "alice", "pepper"), 0);
  EXPECT_TRUE(sharing.WaitUntilEmpty(TimePoint::max()));
}

TEST_F(ChatRunnerTest, EachOfSeveralAnswersIsComputed) {
  ChatCall call = Hello();
  call.n = 3;
  auto answer = Ask(std::move(call));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(ReadAll(*answer).usage.generated_tokens, 15);
}

TEST_F(ChatRunnerTest, AdmissionCountsTheTokensOfEachAnswer) {
  ChatCall call = Hello();
  call.n = 4;
  call.sampling.max_tokens = 256;  // 1024 in all, of 1000
  const auto answer = Ask(std::move(call));
  EXPECT_TRUE(absl::IsInvalidArgument(answer.status()) ||
              absl::IsResourceExhausted(answer.status()))
      << answer.status();
}

// From then on the prompt's tokens stand for them.
TEST_F(ChatRunnerTest, BytesAreGivenBackOnceThePromptIsMade) {
  auto answer = Ask(Hello());
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(admission_.held().bytes, 0);
  ReadAll(*answer);
}

// The engine keeps them until the request has ended.
TEST_F(ChatRunnerTest, PicturesAreChargedAsTheyWillBePrepared) {
  constexpr std::int64_t kValues = 3 * 56 * 56;  // a byte each
  const auto about = [this](int pictures, const char* tenant) {
    ChatCall call = AboutAPicture();
    call.tenant = tenant;
    for (int i = 1; i < pictures; ++i) {
      call.messages[0].parts.emplace_back(model::ImagePart{.index = i});
      call.images.push_back(call.images[0]);
    }
    return call;
  };
  Promise<absl::StatusOr<Answer>> two;
  {
    const auto busy = Busy::WithAPicture(pool_);
    runner_.Start(about(2, "alice"), [&](absl::StatusOr<Answer> got) { two.Set(std::move(got)); });
    while (admission_.held().bytes < 2 * kValues) std::this_thread::yield();
    const absl::Status refused = Ask(about(4, "bob")).status();
    EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("bytes"));
    EXPECT_EQ(Decoded(), 0u);
  }
  auto answer = two.Wait();
  ASSERT_TRUE(answer.ok()) << answer.status();
  ReadAll(*answer);
  while (admission_.held().bytes > 0) std::this_thread::yield();  // all is given back
}

TEST_F(ChatRunnerTest, PicturesThatNeedMoreThanThereIsAreRefusedUndecoded) {
  ChatCall call = AboutAPicture();
  for (int i = 1; i < 6; ++i) {
    call.messages[0].parts.emplace_back(model::ImagePart{.index = i});
    call.images.push_back(call.images[0]);
  }
  ExpectRefused(std::move(call), "request.messages");
  EXPECT_EQ(Decoded(), 0u);
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
  ASSERT_TRUE(pool_.TrySubmit("alice", [&] {
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

TEST_F(ChatRunnerTest, ATextWaitsForNoPicture) {
  Promise<absl::StatusOr<Answer>> about_a_picture;
  {
    const auto busy = Busy::WithAPicture(pool_);
    runner_.Start(AboutAPicture(),
                  [&](absl::StatusOr<Answer> got) { about_a_picture.Set(std::move(got)); });
    ChatCall call = Hello();
    call.tenant = "bob";
    auto text = Ask(std::move(call));
    EXPECT_TRUE(text.ok()) << text.status();
    EXPECT_TRUE(text.ok() && ReadAll(*text).status.ok());
    EXPECT_EQ(Decoded(), 0u);
  }
  auto answer = about_a_picture.Wait();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(ReadAll(*answer).usage.images_encoded, 1);
  EXPECT_EQ(Decoded(), 1u);
}

TEST_F(ChatRunnerTest, APictureThatNobodyWaitsForIsNotDecoded) {
  Promise<absl::StatusOr<Answer>> gone, cut_off;
  {
    const auto busy = Busy::WithAPicture(pool_);
    auto cancelled = std::make_shared<std::atomic<bool>>(false);
    ChatCall call = AboutAPicture();
    call.cancelled = cancelled;
    runner_.Start(std::move(call), [&](absl::StatusOr<Answer> got) { gone.Set(std::move(got)); });
    cancelled->store(true);
  }
  EXPECT_TRUE(absl::IsCancelled(gone.Wait().status()));
  {
    const auto busy = Busy::WithAPicture(pool_);
    runner_.Start(AboutAPicture(),
                  [&](absl::StatusOr<Answer> got) { cut_off.Set(std::move(got)); });
    runner_.CutOff();
  }
  EXPECT_TRUE(absl::IsUnavailable(cut_off.Wait().status()));
  EXPECT_EQ(Decoded(), 0u);
  EXPECT_EQ(metrics_.preparing.Value(), 0);
}

// In whatever row the decoder is: the runner's clock is looked at there.
TEST_F(ChatRunnerTest, AClientThatGoesEndsTheDecoding) {
  class Leaving final : public Clock {
   public:
    explicit Leaving(int last) : last_(last) {}
    TimePoint Now() const override {
      if (++looks_ == last_) cancelled->store(true);
      return TimePoint();
    }
    std::int64_t UnixMillis() const override { return 0; }
    int looks() const { return looks_; }

    const std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);

   private:
    const int last_;
    mutable std::atomic<int> looks_ = 0;
  };
  const auto looks = [this](int last) {
    Leaving clock(last);
    ChatRunner runner({}, &directory_, &admission_, &pool_, &metrics_, log_.get(), &clock);
    ChatCall call = AboutAPicture();
    call.arrival = TimePoint();
    call.cancelled = clock.cancelled;
    Promise<absl::StatusOr<Answer>> got;
    runner.Start(std::move(call),
                 [&](absl::StatusOr<Answer> answer) { got.Set(std::move(answer)); });
    auto answer = got.Wait();
    if (answer.ok()) ReadAll(*answer);
    EXPECT_EQ(answer.ok(), last == 0) << answer.status();
    EXPECT_TRUE(answer.ok() || absl::IsCancelled(answer.status())) << answer.status();
    answer = absl::CancelledError("let go");
    EXPECT_TRUE(runner.WaitUntilEmpty(TimePoint::max()));
    return clock.looks();
  };
  const int all = looks(0);
  EXPECT_GT(all, 20);  // rows among them
  EXPECT_EQ(Decoded(), 1u);
  EXPECT_LT(looks(all / 2), all / 2 + 10);
  EXPECT_EQ(Decoded(), 1u);
}

// The tenant's second picture comes after another tenant's first one.
TEST_F(ChatRunnerTest, TenantsTakeTurnsPictureByPicture) {
  std::vector<std::string> ended;
  Promise<absl::StatusOr<Answer>> many, one;
  Promise<bool> both;
  {
    const auto busy = Busy::WithAPicture(pool_);
    ChatCall call = AboutAPicture();
    call.tenant = "alice";
    for (int i = 1; i < 4; ++i) {
      call.messages[0].parts.emplace_back(model::ImagePart{.index = i});
      call.images.push_back(call.images[0]);
    }
    runner_.Start(std::move(call), [&](absl::StatusOr<Answer> got) {
      ended.emplace_back("alice");
      many.Set(std::move(got));
    });
    call = AboutAPicture();
    call.tenant = "bob";
    runner_.Start(std::move(call), [&](absl::StatusOr<Answer> got) {
      ended.emplace_back("bob");
      one.Set(std::move(got));
    });
    while (pool_.waiting() < 2) std::this_thread::yield();  // both texts are prepared
  }
  for (auto* answer : {&many, &one}) {
    auto got = answer->Wait();
    ASSERT_TRUE(got.ok()) << got.status();
    ReadAll(*got);
  }
  EXPECT_THAT(ended, ElementsAre("bob", "alice"));
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
  EXPECT_TRUE(absl::IsInvalidArgument(runner_.RunBeside("alice", 300'000, never, never)));
  {
    const Busy busy(pool_);
    EXPECT_TRUE(pool_.TrySubmit("alice", [] {}));  // her one place to wait
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
