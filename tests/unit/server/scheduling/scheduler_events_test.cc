// Arrivals, cancels, pauses, deadlines, versions: everything but steps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/scheduling/admission.h"
#include "tests/unit/server/scheduling/scheduler_harness.h"

namespace llava::scheduling {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

TEST(SchedulerEventsTest, CancelFreesEverythingInTheSameTick) {
  for (int ticks_before = 0; ticks_before < 6; ++ticks_before) {
    SchedulerHarness h;
    Request request = h.MakeRequest(150, 10);  // queued, encoding, prefilling or decoding by then
    h.AddImage(request, "cat", 10, 80);
    const RequestId id = h.Arrives(std::move(request));
    for (int i = 0; i < ticks_before; ++i) h.Tick();
    const int before = h.got[id];
    h.events.emplace_back(Cancel{id});
    h.Tick();
    EXPECT_EQ(h.got[id], before) << "a token after the cancel";
    EXPECT_EQ(h.ended.at(id).code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(h.used_blocks(), 0);
  }
}

TEST(SchedulerEventsTest, APassedDeadlineEndsIt) {
  SchedulerHarness h;
  Request request = h.MakeRequest(10, 500);
  request.deadline = h.now + milliseconds(20);
  const RequestId id = h.Arrives(std::move(request));
  for (int i = 0; i < 25; ++i) h.Tick();
  EXPECT_EQ(h.ended.at(id).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(h.used_blocks(), 0);
  Request late = h.MakeRequest(10, 500);
  late.deadline = h.now;
  const RequestId late_id = h.Arrives(std::move(late));
  h.Tick();
  EXPECT_EQ(h.ended.at(late_id).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(SchedulerEventsTest, ADeadlineThatCannotBeMetIsRefusedOnArrival) {
  SchedulerHarness h;
  h.forward_time = milliseconds(64);  // 1 ms a prompt token
  h.Arrives(h.MakeRequest(64 * 4, 1));
  h.Finish();
  h.Arrives(h.MakeRequest(10, 900, 1500));  // the device is not idle
  h.Tick();
  Request hopeless = h.MakeRequest(500, 1, 3000);
  hopeless.deadline = h.now + milliseconds(100);
  const RequestId refused = h.Arrives(std::move(hopeless));
  Request possible = h.MakeRequest(500, 1, 6000);
  possible.deadline = h.now + seconds(5);
  const RequestId accepted = h.Arrives(std::move(possible));
  h.Tick();
  EXPECT_EQ(h.ended.at(refused).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryAfter(h.ended.at(refused)).has_value());
  EXPECT_THAT(std::string(h.ended.at(refused).message()), HasSubstr("deadline cannot be met"));
  EXPECT_FALSE(h.ended.contains(accepted));
}

// A world in which the device took minutes for what it does in milliseconds: everything that a
// request needs is believed to take too long.
class StutterTest : public ::testing::Test {
 protected:
  StutterTest() {
    h.forward_time = h.encode_time = std::chrono::minutes(2);
    for (int i = 0; i < 30; ++i) h.Arrives(h.MakeRequest(40, 4, 100 * i));
    h.Finish();
    h.forward_time = milliseconds(1);
  }

  RequestId Ask(Duration deadline = seconds(1)) {
    Request request = h.MakeRequest(40, 4, base += 100);
    request.sampling.min_tokens = 4;
    request.deadline = h.now + deadline;
    return h.Arrives(std::move(request));
  }

  bool Refused(RequestId id) {
    const auto ended = h.ended.find(id);
    return ended != h.ended.end() && absl::IsResourceExhausted(ended->second);
  }

  SchedulerHarness h;
  int base = 10000;
};

TEST_F(StutterTest, AnIdleDeviceTakesOneRequestWhateverItBelieves) {
  const RequestId first = Ask();
  const RequestId second = Ask();
  h.Tick();
  EXPECT_FALSE(Refused(first));
  EXPECT_TRUE(Refused(second)) << "the device is busy now";
  h.Finish();
  EXPECT_TRUE(h.ended.at(first).ok());
  EXPECT_GT(h.marks.count(Mark::kAdmittedIdle), 0u);
}

TEST_F(StutterTest, ADeviceWithNothingButSlowReadersIsIdle) {
  const RequestId slow = h.Arrives(h.MakeRequest(10, 50, base += 100));
  h.Tick();
  h.events.emplace_back(Pause{slow});
  h.Tick();
  const RequestId asked = Ask();
  h.Tick();
  EXPECT_FALSE(Refused(asked));
}

TEST_F(StutterTest, ARunningRequestMakesItBusy) {
  h.Arrives(h.MakeRequest(10, 500, base += 100));
  h.Tick();
  const RequestId asked = Ask();
  h.Tick();
  EXPECT_TRUE(Refused(asked));
}

TEST_F(StutterTest, TheStepsOfTheOneThatWasTakenHealTheEstimate) {
  for (int i = 0; i < 4; ++i) {
    Ask();
    h.Finish();
  }
  const RequestId first = Ask();
  const RequestId second = Ask();
  h.Finish();
  EXPECT_TRUE(h.ended.at(first).ok());
  EXPECT_TRUE(h.ended.at(second).ok());
}

// One that decodes alone for long measures no prompts.
TEST_F(StutterTest, ABusyDeviceForgetsWhatItDoesNotMeasure) {
  h.Arrives(h.MakeRequest(10, 900, base += 100));
  h.Tick();
  const RequestId refused = Ask();
  h.Tick();
  EXPECT_TRUE(Refused(refused));
  h.step = seconds(10);
  for (int i = 0; i < 12; ++i) h.Tick();
  h.step = milliseconds(1);
  const RequestId taken = Ask();
  h.Tick();
  EXPECT_FALSE(Refused(taken));
}

TEST(SchedulerEventsTest, OneStutterRefusesNobody) {
  SchedulerHarness h;
  for (int i = 0; i < 5; ++i) {
    h.Arrives(h.MakeRequest(40, 4, 100 * i));
    h.Finish();
  }
  h.Arrives(h.MakeRequest(10, 900, 900));
  h.Tick();
  h.Tick();  // from here on it decodes
  h.forward_time = std::chrono::minutes(2);
  h.Tick();
  h.forward_time = milliseconds(1);
  h.Tick();
  Request request = h.MakeRequest(40, 4, 2000);
  request.sampling.min_tokens = 4;
  request.deadline = h.now + seconds(1);
  const RequestId asked = h.Arrives(std::move(request));
  h.Tick();
  EXPECT_FALSE(h.ended.contains(asked)) << h.ended.at(asked);
}

TEST(SchedulerEventsTest, EndAllEndsAll) {
  SchedulerHarness h;
  const RequestId a = h.Arrives(h.MakeRequest(10, 20));
  h.Tick();
  h.Arrives(h.MakeRequest(10, 20));
  h.events.emplace_back(EndAll{absl::UnavailableError("stopping")});
  h.Tick();
  EXPECT_EQ(h.ended.size(), 2u);
  EXPECT_EQ(h.ended.at(a).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(h.used_blocks(), 0);
}

Request WithDeadline(SchedulerHarness& h, int prompt, int base, Duration after) {
  Request request = h.MakeRequest(prompt, 1, base);
  request.deadline = h.now + after;
  return request;
}

// Steps that cost 1 ms a prompt token, 10 ms a decode and 100 ms an image, and one that runs.
class KnownCostsTest : public ::testing::Test {
 protected:
  KnownCostsTest() {
    for (int i = 0; i < 4; ++i) {
      Request request = h.MakeRequest(64, 3, 1000 * i);
      h.AddImage(request, std::to_string(i).c_str(), 10, 20);
      h.Arrives(std::move(request));
      h.forward_time = milliseconds(64);
      h.encode_time = milliseconds(100);
      h.Tick();
      h.Tick();
      h.forward_time = milliseconds(10);
      h.Finish();
    }
    running = h.Arrives(h.MakeRequest(3, 900, 9000));
    h.Tick();
    h.Tick();
  }

  // Whether it is taken with so much time. It is cancelled then, after one step.
  bool Taken(Request request, Duration given) {
    request.deadline = h.now + h.step + given;  // a tick is a step later
    const RequestId id = h.Arrives(std::move(request));
    h.Tick();
    const bool refused = h.ended.contains(id);
    if (!refused) h.events.emplace_back(Cancel{id});
    const int tokens = h.scheduler.output().plan.total_tokens;
    h.forward_time = milliseconds(tokens == 1 ? 10 : tokens);
    h.Tick();
    h.forward_time = milliseconds(10);
    return !refused;
  }

  // The least time that is enough: a millisecond more is, and a little less is not (what is learned
  // is forgotten slowly meanwhile).
  void ExpectNeeds(const Request& request, Duration needed) {
    for (const auto& [given, taken] : {std::pair{needed - needed / 50 - milliseconds(1), false},
                                       std::pair{needed + milliseconds(1), true}}) {
      Request copy = request;
      copy.id = RequestId(++h.last_id);
      copy.arrival = h.now;
      EXPECT_EQ(Taken(std::move(copy), given), taken) << Seconds(given) << " s";
    }
  }

  SchedulerHarness h;
  RequestId running;
};

TEST_F(KnownCostsTest, APromptNeedsItsTokens) {
  ExpectNeeds(h.MakeRequest(200, 1, 20000), milliseconds(200));
}

TEST_F(KnownCostsTest, AnImageNeedsTheEncoder) {
  Request request = h.MakeRequest(50, 1, 20000);
  h.AddImage(request, "new", 10, 20);
  ExpectNeeds(request, milliseconds(50 + 100));
}

TEST_F(KnownCostsTest, AnImageThatIsEncodedNeedsNone) {
  Request request = h.MakeRequest(50, 1, 20000);
  h.AddImage(request, "3", 10, 20);
  ExpectNeeds(request, milliseconds(50));
}

TEST_F(KnownCostsTest, WhatIsCachedNeedsNothing) {
  const Request request = h.MakeRequest(100, 1, 20000);
  Request first = request;
  first.id = RequestId(++h.last_id);
  h.Arrives(std::move(first));
  h.forward_time = milliseconds(64);
  h.Tick();
  h.Tick();
  h.Tick();
  h.forward_time = milliseconds(10);
  ExpectNeeds(request, milliseconds(100 - 96));
}

TEST_F(KnownCostsTest, OnlyTokensThatMustComeAreCounted) {
  auto expect = [this, base = 20000](SamplingParams sampling, Duration needed) mutable {
    Request request = h.MakeRequest(20, 11, base += 1000);  // nothing of it is cached
    sampling.max_tokens = 11;
    request.sampling = sampling;
    ExpectNeeds(request, needed);
  };
  SamplingParams sampling;
  expect(sampling, milliseconds(20));  // it may end at once
  sampling.min_tokens = 6;
  expect(sampling, milliseconds(20 + 5 * 10));
  sampling.min_tokens = 0;
  sampling.ignore_eos = true;
  expect(sampling, milliseconds(20 + 10 * 10));
  sampling.stop = {"."};
  expect(sampling, milliseconds(20));
}

TEST_F(KnownCostsTest, WhoGoesBeforeIsWaitedFor) {
  const RequestId other = h.Arrives(h.MakeRequest(500, 900, 30000));
  h.Tick();
  h.forward_time = milliseconds(64);
  const int left = 500 - h.Scheduled(other);
  EXPECT_FALSE(Taken(h.MakeRequest(20, 1, 20000), milliseconds(left / 2)));
  h.forward_time = milliseconds(64);
  h.events.emplace_back(Pause{other});
  h.Tick();
  h.forward_time = milliseconds(10);
  EXPECT_TRUE(Taken(h.MakeRequest(20, 1, 21000), milliseconds(left / 2)))
      << "nobody waits for a slow reader";
}

TEST_F(KnownCostsTest, ARefusalSaysHowMuchTooLongAndWhenToTryAgain) {
  const RequestId id = h.Arrives(WithDeadline(h, 1000, 20000, milliseconds(200)));
  h.Tick();
  const absl::Status status = h.ended.at(id);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the deadline cannot be met: it is 0.199 s"));
  const Duration hint = RetryAfter(status).value_or(Duration{});
  EXPECT_GT(hint, milliseconds(700));
  EXPECT_LT(hint, milliseconds(802));
  EXPECT_EQ(h.marks.count(Mark::kRefusedDeadline), 1u);
}

TEST(SchedulerEventsTest, ADeadlineNowHasPassed) {
  SchedulerHarness h;
  const RequestId now = h.Arrives(WithDeadline(h, 5, 0, h.step));
  const RequestId later = h.Arrives(WithDeadline(h, 5, 100, h.step + Duration(1)));
  h.Tick();
  EXPECT_EQ(h.ended.at(now).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(h.ended.contains(later));
}

TEST(SchedulerEventsTest, NothingToRunWakesAtTheNextDeadline) {
  SchedulerHarness h;
  EXPECT_EQ(h.Tick().wake, std::nullopt);
  Request request = h.MakeRequest(5, 50);
  request.deadline = h.now + seconds(3);
  const TimePoint deadline = *request.deadline;
  const RequestId id = h.Arrives(std::move(request));
  EXPECT_EQ(h.Tick().wake, std::nullopt) << "there is a step to run";
  h.events.emplace_back(Pause{id});
  EXPECT_EQ(h.Tick().wake, deadline);
}

TEST(SchedulerEventsTest, PausesAndResumesAreCountedOnce) {
  SchedulerHarness h;
  const RequestId id = h.Arrives(h.MakeRequest(5, 50));
  h.Tick();
  for (int i = 0; i < 2; ++i) h.events.emplace_back(Pause{id});
  h.Tick();
  EXPECT_EQ(h.scheduler.stats().paused, 1);
  for (int i = 0; i < 2; ++i) h.events.emplace_back(Resume{id});
  h.Tick();
  EXPECT_EQ(h.scheduler.stats().paused, 0);
  EXPECT_EQ(h.Scheduled(id), 1);
  h.events.emplace_back(Pause{id});
  h.Tick();
  h.events.emplace_back(Cancel{id});
  h.Tick();
  EXPECT_EQ(h.scheduler.stats().paused, 0) << "it took its pause along";
}

TEST(SchedulerEventsTest, WhoIsUnknownIsIgnored) {
  SchedulerHarness h;
  h.events.emplace_back(Pause{RequestId(99)});
  h.events.emplace_back(Resume{RequestId(99)});
  h.events.emplace_back(Cancel{RequestId(99)});
  h.Tick();
  EXPECT_TRUE(h.ended.empty());
  EXPECT_EQ(h.marks.count(Mark::kCancelledUnknown), 1u);
}

TEST(SchedulerEventsTest, AnUnknownVersionIsNotFound) {
  SchedulerHarness h;
  Request request = h.MakeRequest(5, 5);
  request.version = Sha256Of("nobody's");
  const RequestId id = h.Arrives(std::move(request));
  h.Tick();
  EXPECT_EQ(h.ended.at(id).code(), absl::StatusCode::kNotFound);
}

TEST(SchedulerEventsTest, AVersionWithoutRequestsGoesAtOnceAndItsPlaceIsTakenAgain) {
  SchedulerHarness h;
  h.Tick();
  for (int i = 0; i < 3 * kMaxVersions; ++i) {
    const Digest version = Sha256Of(std::to_string(i));
    h.events.emplace_back(AddVersion{version});
    h.events.emplace_back(RemoveVersion{version});
    EXPECT_EQ(h.Tick().removed_versions, std::vector{version});
  }
}

TEST(SchedulerEventsTest, TheAnswerEndsWhereTheContextDoes) {
  SchedulerOptions options = SmallOptions();
  options.max_context_tokens = 12;
  SchedulerHarness h(options);
  const RequestId id = h.Arrives(h.MakeRequest(10, 50));
  h.Finish();
  EXPECT_EQ(h.got[id], 2);
  EXPECT_TRUE(h.ended.at(id).ok());
  EXPECT_EQ(h.marks.count(Mark::kLengthByContext), 1u);
}

TEST(SchedulerEventsTest, WhatACancelledOneUsedIsKnown) {
  SchedulerHarness h;
  Request request = h.MakeRequest(5, 50);
  request.n = 2;
  const RequestId id = h.Arrives(std::move(request));
  for (int i = 0; i < 4; ++i) h.Tick();
  h.events.emplace_back(Cancel{id});
  h.Tick();
  EXPECT_EQ(h.usage[id].generated_tokens, 2 * 4);
  EXPECT_EQ(h.usage[id].queue, h.step);
  EXPECT_EQ(h.usage[id].decode, 3 * h.step);
  const RequestId never = h.Arrives(h.MakeRequest(5, 50));
  h.events.emplace_back(Cancel{never});
  h.Tick();
  EXPECT_EQ(h.usage[never].generated_tokens, 0);
  EXPECT_EQ(h.usage[never].queue, h.step) << "it was queued for all of its life";
}

// Without a deadline a request is ordered as if it had one after `patience`, and nobody's is later.
TEST(SchedulerEventsTest, PatienceBoundsTheUrgency) {
  SchedulerOptions options = SmallOptions();
  options.max_running = 1;
  options.patience = seconds(10);
  SchedulerHarness h(options);
  h.Arrives(h.MakeRequest(5, 900));
  h.Tick();
  const auto urgency = [&h](Request request) {
    const RequestId id = h.Arrives(std::move(request));
    h.Tick();
    return h.scheduler.requests().at(id)->urgency - h.scheduler.requests().at(id)->spec->arrival;
  };
  EXPECT_EQ(urgency(h.MakeRequest(5, 5)), seconds(10));
  EXPECT_EQ(urgency(WithDeadline(h, 5, 0, seconds(4))), seconds(4));
  EXPECT_EQ(urgency(WithDeadline(h, 5, 0, seconds(40))), seconds(10));
}

}  // namespace
}  // namespace llava::scheduling
