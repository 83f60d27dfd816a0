#include "server/engine/engine_router.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "tests/support/fake_executor.h"

namespace llava::engine {
namespace {

scheduling::Request Prompt(int first, const char* image = nullptr) {
  scheduling::Request request;
  request.prompt_ids = {1, first, 3};
  if (image != nullptr) {
    request.images.emplace_back();
    request.images.back().digest = Sha256Of(image);
  }
  return request;
}

// Of engines of one kind.
std::vector<EngineLoad> Loads(const std::vector<std::int64_t>& tokens) {
  std::vector<EngineLoad> loads;
  for (const std::int64_t of_one : tokens) loads.push_back({.tokens = of_one});
  return loads;
}

TEST(EngineRouterTest, NewOnesGoToTheIdlest) {
  EngineRouter router;
  EXPECT_EQ(router.Pick(Prompt(1), Loads({500, 100, 300})), 1u);
  EXPECT_EQ(router.Pick(Prompt(2), Loads({50, 100, 300})), 0u);
}

TEST(EngineRouterTest, TheSameImageGoesWhereItWas) {
  EngineRouter router;
  EXPECT_EQ(router.Pick(Prompt(1, "cat"), Loads({100, 0})), 1u);
  EXPECT_EQ(router.Pick(Prompt(2, "cat"), Loads({0, 4000})), 1u);
  EXPECT_EQ(router.Pick(Prompt(2, "dog"), Loads({0, 4000})), 0u);
}

TEST(EngineRouterTest, LoadOverrulesAffinityAndIsRemembered) {
  EngineRouter router;
  EXPECT_EQ(router.Pick(Prompt(1), Loads({100, 0})), 1u);
  EXPECT_EQ(router.Pick(Prompt(1), Loads({1000, 10000})), 0u);
  EXPECT_EQ(router.Pick(Prompt(1), Loads({1000, 900})), 0u);
}

TEST(EngineRouterTest, RemembersABoundedNumber) {
  EngineRouter router(/*capacity=*/2);
  router.Pick(Prompt(1), Loads({100, 0}));
  router.Pick(Prompt(2), Loads({100, 0}));
  router.Pick(Prompt(1), Loads({0, 100}));  // used again
  router.Pick(Prompt(3), Loads({100, 0}));  // 2 is forgotten
  EXPECT_EQ(router.Pick(Prompt(1), Loads({0, 100})), 1u);
  EXPECT_EQ(router.Pick(Prompt(2), Loads({0, 100})), 0u);
}

TEST(EngineRouterTest, AnotherVersionIsAnotherBeginning) {
  EngineRouter router;
  scheduling::Request request = Prompt(1);
  EXPECT_EQ(router.Pick(request, Loads({100, 0})), 1u);
  request.version = Sha256Of("v2");
  EXPECT_EQ(router.Pick(request, Loads({0, 100})), 0u);
}

TEST(EngineRouterTest, AnotherCacheDomainIsAnotherBeginning) {
  EngineRouter router;
  for (const char* image : {static_cast<const char*>(nullptr), "cat"}) {
    scheduling::Request request = Prompt(1, image);
    EXPECT_EQ(router.Pick(request, Loads({100, 0})), 1u);
    request.cache_domain = Sha256Of("bob");
    EXPECT_EQ(router.Pick(request, Loads({0, 100})), 0u);
  }
}

// Prompt and answer are 1000 tokens.
scheduling::Request Thousand(int first) {
  scheduling::Request request = Prompt(first);
  request.sampling.max_tokens = 997;
  return request;
}

TEST(EngineRouterTest, OfDifferentDevicesTheOneThatWouldBeDoneFirst) {
  EngineRouter router;
  const auto pick = [&](int first, std::int64_t waiting) {
    return router.Pick(Thousand(first),
                       std::vector<EngineLoad>{{waiting, 500, "cuda"}, {0, 10, "cpu"}});
  };
  EXPECT_EQ(pick(1, 0), 0u);
  EXPECT_EQ(pick(2, 48'000), 0u);  // 98 seconds rather than 100
  EXPECT_EQ(pick(3, 50'000), 1u);
}

TEST(EngineRouterTest, WhatIsRememberedOnASlowDeviceDoesNotHoldARequestThere) {
  EngineRouter router;
  const std::vector<EngineLoad> busy = {{60'000, 500, "cuda"}, {0, 10, "cpu"}};
  const std::vector<EngineLoad> idle = {{0, 500, "cuda"}, {0, 10, "cpu"}};
  EXPECT_EQ(router.Pick(Thousand(1), busy), 1u);
  EXPECT_EQ(router.Pick(Thousand(1), idle), 0u) << "12 seconds against 100";
}

TEST(EngineRouterTest, EnginesOfOneKindAreEquallyFast) {
  EngineRouter router;
  const std::vector<EngineLoad> loads = {{2000, 9000, "cuda"}, {1000, 200, "cuda"}};
  EXPECT_EQ(router.Pick(Thousand(1), loads), 1u);
}

TEST(EngineRouterTest, WhatIsNotMeasuredYetIsTried) {
  EngineRouter router;
  const std::vector<EngineLoad> loads = {{1000, 500, "cuda"}, {0, 0, "cpu"}};
  EXPECT_EQ(router.Pick(Thousand(1), loads), 1u);
}

// Two engines whose devices take different times for a token, as their own steps show it.
TEST(EngineRouterTest, GoesByTheSpeedThatEnginesMeasured) {
  ManualClock clock;
  const Digest version = Sha256Of("v1");
  const auto make = [&](const char* kind, Duration token) {
    EngineOptions options;
    options.kind = kind;
    options.scheduler.num_blocks = 64;
    options.scheduler.max_batch_tokens = 16;
    options.scheduler.max_running = 4;
    options.scheduler.max_context_tokens = 256;
    const testing::FakeCosts costs{.token = token};
    auto engine = std::make_unique<Engine>(
        options, std::make_unique<testing::FakeExecutor>(64, &clock, costs), &clock, nullptr);
    engine->AddVersion(std::make_shared<testing::FakeModel>(version), [](const absl::Status&) {});
    return engine;
  };
  const auto fast = make("cuda", std::chrono::microseconds(10));
  const auto slow = make("cpu", std::chrono::milliseconds(1));
  Engine* const engines[] = {slow.get(), fast.get()};
  const auto submit = [&](Engine& engine, int first) {
    scheduling::Request request = Prompt(first);
    request.version = version;
    request.sampling.max_tokens = 50;
    auto stream = engine.Submit(
        {std::move(request), {}, [] { return std::make_unique<testing::FakeTextDecoder>(-1); }});
    EXPECT_TRUE(stream.ok()) << stream.status();
    return *std::move(stream);
  };
  EngineRouter router;
  EXPECT_EQ(router.Pick(Prompt(1), engines), 0u) << "nothing is known yet";
  for (Engine* engine : engines) {
    const TokenStream stream = submit(*engine, 2);
    for (int turn = 0; turn < 9; ++turn) engine->RunOnce();
  }
  EXPECT_NEAR(slow->speed(), 1000, 1);
  EXPECT_NEAR(fast->speed(), 100'000, 100);
  EXPECT_EQ(router.Pick(Prompt(3), engines), 1u);
  // As many again wait for the fast one, and it is done with all of them before the slow one.
  std::vector<TokenStream> waiting;
  for (int i = 10; i < 20; ++i) waiting.push_back(submit(*fast, i));
  EXPECT_EQ(router.Pick(Prompt(4), engines), 1u);
  for (Engine* engine : engines) engine->Stop();
}

}  // namespace
}  // namespace llava::engine
