#include "server/scheduling/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/server/scheduling/scheduler_harness.h"

namespace llava::scheduling {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

TEST(SchedulerTest, AnswersAndEndsOnce) {
  SchedulerHarness h;
  const RequestId id = h.Arrives(h.MakeRequest(10, 5));
  h.Finish();
  EXPECT_EQ(h.got[id], 5);
  EXPECT_TRUE(h.ended.at(id).ok());
  EXPECT_EQ(h.usage[id].prompt_tokens, 10);
  EXPECT_EQ(h.usage[id].generated_tokens, 5);
  EXPECT_EQ(h.used_blocks(), 0);
}

TEST(SchedulerTest, AnEndTokenEndsIt) {
  SchedulerHarness h;
  Request request = h.MakeRequest(10, 50);
  request.end_token_ids = {2};
  request.sampling.min_tokens = 3;
  const RequestId id = h.Arrives(std::move(request));
  for (int i = 0; i < 20; ++i) h.Tick(/*token=*/2);
  EXPECT_EQ(h.got[id], 3);  // not before min_tokens
}

TEST(SchedulerTest, ALongPromptNeverDelaysADecode) {
  SchedulerHarness h;
  const RequestId reader = h.Arrives(h.MakeRequest(5, 500));
  h.Tick();
  h.Tick();
  const RequestId big = h.Arrives(h.MakeRequest(900, 5, 10000));
  int steps = 0;
  do {
    h.Tick();
    ++steps;
    EXPECT_EQ(h.Scheduled(reader), 1);
    EXPECT_LE(h.scheduler.output().plan.total_tokens, 64);
  } while (h.got[big] == 0);
  EXPECT_GE(steps, 900 / 64);
  EXPECT_LE(steps, 900 / 63 + 3);
}

TEST(SchedulerTest, ImagesAreEncodedOneAStepAndDecodesGoOn) {
  SchedulerHarness h;
  const RequestId reader = h.Arrives(h.MakeRequest(5, 500));
  h.Tick();
  Request album = h.MakeRequest(40, 5, 500);
  for (int i = 0; i < 4; ++i) h.AddImage(album, std::to_string(i).c_str(), 2 + 9 * i, 9);
  h.Arrives(std::move(album));
  int encoded = 0;
  for (int i = 0; i < 8; ++i) {
    const auto& plan = h.Tick().plan;
    EXPECT_LE(plan.encodes.size(), 1u);
    encoded += static_cast<int>(plan.encodes.size());
    EXPECT_EQ(h.Scheduled(reader), 1);
  }
  EXPECT_EQ(encoded, 4);
}

TEST(SchedulerTest, AFirstTokenDoesNotWaitForTheImagesBehindIt) {
  SchedulerHarness h;
  const auto ask = [&](const char* image, int base) {
    Request request = h.MakeRequest(80, 5, base);
    h.AddImage(request, image, 4, 70);
    return h.Arrives(std::move(request));
  };
  const RequestId first = ask("cat", 1000);
  const RequestId second = ask("dog", 2000);
  const RequestId third = ask("bird", 3000);
  EXPECT_EQ(h.Tick().plan.encodes.size(), 1u);
  EXPECT_EQ(h.Scheduled(first), 64);
  EXPECT_EQ(h.Tick().plan.encodes.size(), 0u);
  EXPECT_EQ(h.Scheduled(first), 80 - 64);
  EXPECT_EQ(h.Scheduled(second), 4);  // up to its image
  EXPECT_EQ(h.Scheduled(third), 0);   // it would only hold blocks
  EXPECT_EQ(h.Tick().plan.encodes.size(), 1u);
  EXPECT_EQ(h.got[first], 1);
  EXPECT_EQ(h.Scheduled(second), 64 - 1);
}

TEST(SchedulerTest, ASecondQuestionOnTheImageCostsNeitherEncoderNorPrompt) {
  SchedulerHarness h;
  const auto ask = [&](int question) {
    Request request = h.MakeRequest(100, 3);
    h.AddImage(request, "cat", 4, 80);
    request.prompt_ids.resize(100 + 5, question);
    return h.Arrives(std::move(request));
  };
  const RequestId first = ask(700);
  h.Finish();
  const RequestId second = ask(800);
  h.Finish();
  EXPECT_EQ(h.usage[first].images_encoded, 1);
  EXPECT_EQ(h.usage[first].cached_tokens, 0);
  EXPECT_EQ(h.usage[second].images_encoded, 0);
  EXPECT_EQ(h.usage[second].cached_tokens, 96);  // 6 full blocks of 100 shared tokens
  EXPECT_EQ(h.usage[second].image_tokens, 80);
}

TEST(SchedulerTest, AnotherVersionOrImageSharesNothing) {
  SchedulerHarness h;
  const Digest v2 = Sha256Of("v2");
  h.events.emplace_back(AddVersion{v2});
  const auto ask = [&](const Digest& version, const char* image) {
    Request request = h.MakeRequest(100, 3);
    h.AddImage(request, image, 4, 80);
    request.version = version;
    const RequestId id = h.Arrives(std::move(request));
    h.Finish();
    return id;
  };
  ask(h.version, "cat");
  const RequestId dog = ask(h.version, "dog");
  const RequestId other = ask(v2, "cat");
  EXPECT_EQ(h.usage[dog].cached_tokens, 0);
  EXPECT_EQ(h.usage[dog].images_encoded, 1);
  EXPECT_EQ(h.usage[other].cached_tokens, 0);
  EXPECT_EQ(h.usage[other].images_encoded, 1);
}

// Neither at the start, nor from one that runs beside it, nor after a preemption.
TEST(SchedulerTest, AnotherCacheDomainSharesNothing) {
  SchedulerHarness h;
  const auto ask = [&](const char* domain) {
    Request request = h.MakeRequest(100, 3);
    h.AddImage(request, "cat", 4, 80);
    request.cache_domain = Sha256Of(domain);
    return h.Arrives(std::move(request));
  };
  const RequestId bob = ask("bob");
  h.Finish();
  const RequestId alice = ask("alice");
  const RequestId carol = ask("carol");
  h.Finish();
  const RequestId bob_again = ask("bob");
  const RequestId alice_again = ask("alice");
  h.Finish();
  for (const RequestId first : {bob, alice, carol}) {
    EXPECT_EQ(h.usage[first].cached_tokens, 0);
    EXPECT_EQ(h.usage[first].images_encoded, 1);
  }
  for (const RequestId again : {bob_again, alice_again}) {
    EXPECT_EQ(h.usage[again].cached_tokens, 96);
    EXPECT_EQ(h.usage[again].images_encoded, 0);
  }
}

// What a deadline allows is judged by what the request's own domain has: a refusal tells nothing.
TEST(SchedulerTest, ADeadlineIsJudgedWithinTheCacheDomain) {
  SchedulerHarness h;
  h.forward_time = std::chrono::seconds(1);
  const auto ask = [&](const char* domain) {
    Request request = h.MakeRequest(100, 1);
    request.cache_domain = Sha256Of(domain);
    return request;
  };
  for (int i = 1; i < 10; ++i) h.Arrives(h.MakeRequest(64, 1, 1000 * i));  // what a step costs
  h.Arrives(ask("bob"));
  h.Finish();
  h.Arrives(h.MakeRequest(16, 100, 50000));  // the device is not idle
  h.Tick();
  h.Tick();
  Request alice = ask("alice");
  Request bob = ask("bob");
  alice.deadline = bob.deadline = h.now + std::chrono::milliseconds(800);
  const RequestId refused = h.Arrives(std::move(alice));
  const RequestId taken = h.Arrives(std::move(bob));
  h.Tick();
  EXPECT_TRUE(absl::IsResourceExhausted(h.ended[refused])) << h.ended[refused];
  EXPECT_FALSE(h.ended.contains(taken)) << h.ended[taken];
}

TEST(SchedulerTest, ChoicesShareThePromptAndCopyBeforeTheyWrite) {
  SchedulerHarness h;
  Request request = h.MakeRequest(40, 10);  // 2 full blocks and a half one
  request.n = 3;
  const RequestId id = h.Arrives(std::move(request));
  EXPECT_EQ(h.Tick().plan.samples.size(), 3u);
  const auto& fork = h.Tick();
  EXPECT_EQ(fork.plan.chunks.size(), 3u);
  EXPECT_EQ(fork.plan.copies.size(), 2u);  // the last one keeps the original
  EXPECT_EQ(h.used_blocks(), 2 + 3);
  h.Finish();
  EXPECT_EQ(h.got[id], 30);
  EXPECT_EQ(h.usage[id].prompt_tokens, 40);
}

TEST(SchedulerTest, TheNewestOfTheLowestClassIsPreempted) {
  SchedulerOptions options = SmallOptions();
  options.num_blocks = 8;
  SchedulerHarness h(options);
  const auto arrive = [&](Priority priority, int base) {
    Request request = h.MakeRequest(30, 40, base);
    request.priority = priority;
    return h.Arrives(std::move(request));
  };
  const RequestId high = arrive(Priority::kHigh, 0);
  const RequestId older = arrive(Priority::kLow, 1000);
  const RequestId newer = arrive(Priority::kLow, 2000);
  h.Finish();
  for (const RequestId id : {high, older, newer}) EXPECT_EQ(h.got[id], 40);
  EXPECT_EQ(h.usage[high].preemptions, 0);
  EXPECT_GE(h.usage[newer].preemptions, 1);
  EXPECT_LE(h.usage[older].preemptions, h.usage[newer].preemptions);
}

TEST(SchedulerTest, ABetterClassDoesNotWaitForAPlace) {
  SchedulerOptions options = SmallOptions();
  options.max_running = 1;
  SchedulerHarness h(options);
  Request low = h.MakeRequest(10, 500);
  low.priority = Priority::kLow;
  const RequestId low_id = h.Arrives(std::move(low));
  h.Tick();
  Request high = h.MakeRequest(10, 2, 100);
  high.priority = Priority::kHigh;
  const RequestId high_id = h.Arrives(std::move(high));
  h.Tick();
  EXPECT_GT(h.Scheduled(high_id), 0);
  h.Finish();
  EXPECT_EQ(h.got[low_id], 500);
}

TEST(SchedulerTest, ASlowReaderPausesAloneAndGivesItsBlocksWhenNeeded) {
  SchedulerOptions options = SmallOptions();
  options.num_blocks = 8;
  SchedulerHarness h(options);
  const RequestId slow = h.Arrives(h.MakeRequest(60, 30));
  h.Tick();
  h.Tick();
  h.events.emplace_back(Pause{slow});
  const RequestId other = h.Arrives(h.MakeRequest(100, 20, 5000));
  for (int i = 0; i < 40; ++i) {
    h.Tick();
    EXPECT_EQ(h.Scheduled(slow), 0);
  }
  EXPECT_EQ(h.got[other], 20);
  h.events.emplace_back(Resume{slow});
  h.Finish();
  EXPECT_EQ(h.got[slow], 30);
  EXPECT_EQ(h.usage[slow].preemptions, 1);
}

TEST(SchedulerTest, AFailedStepEndsItsRequestsOnly) {
  SchedulerOptions options = SmallOptions();
  options.max_running = 2;
  SchedulerHarness h(options);
  const RequestId a = h.Arrives(h.MakeRequest(10, 20));
  const RequestId b = h.Arrives(h.MakeRequest(10, 20, 100));
  const RequestId waiting = h.Arrives(h.MakeRequest(10, 20, 200));
  h.Tick();
  h.FailTick(absl::InternalError("cosmic ray"));
  for (const RequestId id : {a, b}) {
    EXPECT_EQ(h.ended.at(id).code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(h.ended.at(id).message()), HasSubstr("cosmic ray"));
  }
  h.Finish();
  EXPECT_TRUE(h.ended.at(waiting).ok());
}

TEST(SchedulerTest, OutOfMemoryMakesSmallerStepsAndLosesNothing) {
  SchedulerHarness h;
  std::vector<RequestId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(h.Arrives(h.MakeRequest(50, 10, 100 * i)));
  h.Tick();
  EXPECT_EQ(h.scheduler.output().plan.total_tokens, 64);
  h.FailTick(absl::ResourceExhaustedError("device memory"));
  EXPECT_LE(h.scheduler.output().plan.total_tokens, 32);
  h.Finish();
  for (const RequestId id : ids) EXPECT_TRUE(h.ended.at(id).ok());
  const RequestId alone = h.Arrives(h.MakeRequest(10, 10));
  h.Tick();
  for (int i = 0; i < 20 && !h.ended.contains(alone); ++i) {
    h.FailTick(absl::ResourceExhaustedError("device memory"));
  }
  EXPECT_EQ(h.ended.at(alone).code(), absl::StatusCode::kResourceExhausted);
}

TEST(SchedulerTest, VersionsTakeTurnsAndDrain) {
  SchedulerHarness h;
  const Digest v2 = Sha256Of("v2");
  h.events.emplace_back(AddVersion{v2});
  const RequestId one = h.Arrives(h.MakeRequest(10, 20));
  Request request = h.MakeRequest(10, 20);
  request.version = v2;
  const RequestId two = h.Arrives(std::move(request));
  Digest last{};
  for (int i = 0; i < 10; ++i) {
    const Digest version = h.Tick().plan.version;
    EXPECT_NE(version, last);
    last = version;
  }
  h.events.emplace_back(RemoveVersion{v2});
  Request late = h.MakeRequest(10, 20);
  late.version = v2;
  const RequestId late_id = h.Arrives(std::move(late));
  bool removed = false;
  for (int i = 0; i < 60; ++i) {
    if (h.Tick().removed_versions == std::vector{v2}) {
      removed = true;
      EXPECT_TRUE(h.ended.contains(two));
    }
  }
  EXPECT_TRUE(removed);
  EXPECT_EQ(h.ended.at(late_id).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(h.ended.at(one).ok());
  EXPECT_TRUE(h.ended.at(two).ok());
}

// Whoever compares how fast two versions are must know what they waited for each other.
TEST(SchedulerTest, UsageTellsApartWhatOtherVersionsTook) {
  using std::chrono::milliseconds;
  SchedulerHarness h;
  const Digest v2 = Sha256Of("v2");
  h.events.emplace_back(AddVersion{v2});
  const RequestId one = h.Arrives(h.MakeRequest(10, 20));
  Request request = h.MakeRequest(10, 20);
  request.version = v2;
  const RequestId two = h.Arrives(std::move(request));
  h.Finish();
  const RequestId alone = h.Arrives(h.MakeRequest(10, 20, 500));
  h.Finish();
  for (const RequestId id : {one, two, alone}) {
    const Usage& usage = h.usage.at(id);
    EXPECT_EQ(usage.queue + usage.prefill - usage.others_first, milliseconds(2));
    EXPECT_EQ(usage.decode - usage.others_next, milliseconds(19));
  }
  EXPECT_EQ(h.usage.at(one).others_first, milliseconds(1));  // the other version's turn was first
  EXPECT_EQ(h.usage.at(two).others_first, Duration{});
  EXPECT_EQ(h.usage.at(two).others_next, milliseconds(19));
  EXPECT_EQ(h.usage.at(alone).others_first + h.usage.at(alone).others_next, Duration{});
}

// Both always have work: what they get differs by at most the slack and one request each place.
TEST(SchedulerTest, BackloggedTenantsGetEqualShares) {
  SchedulerOptions options = SmallOptions();
  options.max_running = 4;
  options.fair_share_slack = 200;
  SchedulerHarness h(options);
  const auto arrive = [&](const char* tenant, int base) {
    Request request = h.MakeRequest(32, 16, base);
    request.tenant = tenant;
    h.Arrives(std::move(request));
  };
  const std::int64_t one_request = 32 + 16 * options.output_token_weight;
  const std::int64_t bound = 200 + 4 * one_request;
  int base = 0;
  for (int i = 0; i < 2000; ++i) {
    // The greedy one sends ten times as much, and first.
    if (h.scheduler.stats().waiting < 30) {
      for (int k = 0; k < 10; ++k) arrive("greedy", base += 100);
      arrive("modest", base += 100);
      arrive("modest", base += 100);
    }
    h.Tick();
    const auto& tenants = h.scheduler.fair_share().tenants();
    if (tenants.size() < 2 || tenants.at("modest").requests == 0) continue;
    const std::int64_t ahead = tenants.at("greedy").counter - tenants.at("modest").counter;
    ASSERT_LE(std::abs(ahead), bound) << "tick " << i;
  }
  EXPECT_GT(h.scheduler.fair_share().tenants().at("modest").counter, 10000);
}

// However many high ones come, the low one gets on: waiting raises its class.
TEST(SchedulerTest, NobodyStarves) {
  SchedulerOptions options = SmallOptions();
  options.max_running = 1;
  options.aging = milliseconds(50);
  options.patience = milliseconds(100);
  SchedulerHarness h(options);
  Request low = h.MakeRequest(10, 30);
  low.priority = Priority::kLow;
  const RequestId id = h.Arrives(std::move(low));
  for (int i = 0; i < 600 && !h.ended.contains(id); ++i) {
    if (i % 5 == 0) {
      Request high = h.MakeRequest(5, 5, 100 * i);
      high.priority = Priority::kHigh;
      h.Arrives(std::move(high));
    }
    h.Tick();
  }
  EXPECT_TRUE(h.ended.contains(id));
}

TEST(SchedulerTest, AfterRunningOutOfMemoryTheStepGrowsBack) {
  SchedulerOptions options = SmallOptions();
  options.num_blocks = 600;
  options.max_context_tokens = 8000;
  SchedulerHarness h(options);
  h.Arrives(h.MakeRequest(6000, 5));
  EXPECT_EQ(h.Tick().plan.total_tokens, 64);
  h.FailTick(absl::ResourceExhaustedError("device memory"));
  for (int good = 0; good < 64; ++good) {
    EXPECT_EQ(h.scheduler.output().plan.total_tokens, 32) << good;
    h.Tick();
  }
  EXPECT_EQ(h.scheduler.output().plan.total_tokens, 64);
}

TEST(SchedulerTest, ThirdFailureOfASingleTokenIsItsEnd) {
  SchedulerHarness h;
  const RequestId id = h.Arrives(h.MakeRequest(1, 5));
  h.Tick();
  for (int failure = 1; failure <= 3; ++failure) {
    EXPECT_FALSE(h.ended.contains(id)) << failure;
    h.FailTick(absl::ResourceExhaustedError("device memory"));
  }
  EXPECT_EQ(h.ended.at(id).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(h.ended.at(id).message(), "out of device memory: device memory");
  EXPECT_EQ(h.marks.count(Mark::kStepOutOfMemory), 3u);
  EXPECT_EQ(h.marks.count(Mark::kOutOfMemoryFatal), 1u);
}

TEST(SchedulerTest, AGoodStepForgivesTheFailuresBefore) {
  SchedulerHarness h;
  const RequestId id = h.Arrives(h.MakeRequest(1, 50));
  h.Tick();
  for (int round = 0; round < 3; ++round) {
    for (int failure = 1; failure <= 2; ++failure) {
      h.FailTick(absl::ResourceExhaustedError("device memory"));
    }
    h.Tick();
  }
  EXPECT_FALSE(h.ended.contains(id));
  EXPECT_EQ(h.got[id], 3);
}

TEST(SchedulerTest, StatsAreThoseOfTheMoment) {
  SchedulerOptions options = SmallOptions();
  options.max_running = 2;
  SchedulerHarness h(options);
  Request pictured = h.MakeRequest(20, 50);
  h.AddImage(pictured, "cat", 2, 10);
  h.Arrives(std::move(pictured));
  h.Arrives(h.MakeRequest(20, 50, 1000));
  h.Arrives(h.MakeRequest(20, 50, 2000));
  h.Tick();
  h.Tick();
  const SchedulerStats stats = h.scheduler.stats();
  EXPECT_EQ(stats.requests, 3);
  EXPECT_EQ(stats.running, 2);
  EXPECT_EQ(stats.waiting, 1);
  EXPECT_EQ(stats.paused, 0);
  EXPECT_EQ(stats.blocks_total, 64);
  EXPECT_EQ(stats.blocks_used, 4);
  EXPECT_EQ(stats.blocks_cached, 0);
  EXPECT_EQ(stats.feature_bytes, 10);
  EXPECT_EQ(stats.generated_tokens, 2u);
  EXPECT_EQ(stats.planner.prompt_tokens, 40u);
  EXPECT_EQ(stats.planner.images_needed, 1u);
  EXPECT_EQ(stats.planner.images_encoded, 1u);
  EXPECT_EQ(stats.planner.preemptions, 0u);
}

TEST(SchedulerTest, TimesOfAnAnswer) {
  SchedulerHarness h;
  Request request = h.MakeRequest(20, 4);
  h.AddImage(request, "cat", 2, 10);
  h.encode_time = Duration(1);
  const RequestId id = h.Arrives(std::move(request));
  h.Finish();
  EXPECT_EQ(h.usage[id].queue, h.step);
  EXPECT_EQ(h.usage[id].encode, Duration(1));
  EXPECT_EQ(h.usage[id].prefill, h.step - Duration(1));
  EXPECT_EQ(h.usage[id].decode, 3 * h.step);
}

TEST(SchedulerTest, OutputTokensAreChargedToTheTenant) {
  SchedulerHarness h;
  Request request = h.MakeRequest(10, 5);
  request.tenant = "a";
  h.Arrives(std::move(request));
  h.Finish();
  EXPECT_EQ(h.scheduler.fair_share().tenants().at("a").counter, 10 + 5 * 4);
}

}  // namespace
}  // namespace llava::scheduling
