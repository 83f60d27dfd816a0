// The engine turn by turn, in this thread, with a clock that only the fake device moves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/engine.h"
#include "tests/support/fake_executor.h"

namespace llava::engine {
namespace {

using scheduling::FinishReason;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Digest kVersion = Sha256Of("v1");

struct Recorder final : Observer {
  void OnStep(const StepReport& report) override { steps.push_back(report); }
  void OnFirstToken(Duration since_arrival) override { firsts.push_back(since_arrival); }
  void OnNextToken(Duration since_last) override { nexts.push_back(since_last); }
  void OnEnd(const scheduling::Request&, const absl::Status& status,
             const scheduling::Usage& usage_, Duration since_arrival) override {
    ends.push_back(status);
    usage = usage_;
    lives.push_back(since_arrival);
  }
  void OnCancelled(std::uint64_t steps_) override { cancelled.push_back(steps_); }

  std::vector<StepReport> steps;
  std::vector<Duration> firsts, nexts, lives;
  std::vector<absl::Status> ends;
  std::vector<std::uint64_t> cancelled;
  scheduling::Usage usage;
};

class EngineLoopTest : public ::testing::Test {
 protected:
  EngineLoopTest() {
    EngineOptions options;
    options.scheduler.num_blocks = 32;
    options.scheduler.max_batch_tokens = 16;
    options.scheduler.max_running = 4;
    options.scheduler.max_context_tokens = 256;
    options.stream_tokens = 4;
    const testing::FakeCosts costs{milliseconds(1), microseconds(10), milliseconds(3)};
    auto executor = std::make_unique<testing::FakeExecutor>(32, &clock_, costs);
    executor_ = executor.get();
    engine_ = std::make_unique<Engine>(options, std::move(executor), &clock_, &seen_);
    clock_.Advance(std::chrono::seconds(1));
    EXPECT_EQ(Add(kVersion), absl::OkStatus());
  }
  ~EngineLoopTest() override { engine_->Stop(); }

  absl::Status Add(const Digest& version) {
    std::optional<absl::Status> said;
    engine_->AddVersion(std::make_shared<testing::FakeModel>(version),
                        [&said](absl::Status status) { said = std::move(status); });
    engine_->RunOnce();
    return said.value_or(absl::UnknownError("nothing was said"));
  }

  TokenStream Submit(int prompt, int max_tokens, int n = 1, std::int32_t stop = -1) {
    scheduling::Request request;
    request.version = kVersion;
    request.arrival = clock_.Now();
    request.n = n;
    for (int i = 0; i < prompt; ++i) request.prompt_ids.push_back(i);
    request.sampling.max_tokens = max_tokens;
    return Submit(std::move(request), stop);
  }

  TokenStream Submit(scheduling::Request request, std::int32_t stop = -1) {
    last_ = request;
    auto stream = engine_->Submit({std::move(request), {}, [stop] {
                                     return std::make_unique<testing::FakeTextDecoder>(stop);
                                   }});
    EXPECT_TRUE(stream.ok()) << stream.status();
    return *std::move(stream);
  }

  // A prompt of ten tokens, some of them a picture's.
  TokenStream SubmitWithImage(int max_tokens) {
    scheduling::Request request;
    request.version = kVersion;
    request.arrival = clock_.Now();
    request.prompt_ids.assign(10, 1);
    request.images.emplace_back();
    request.images[0].count = 4;
    request.sampling.max_tokens = max_tokens;
    return Submit(std::move(request));
  }

  // Turns until the stream has an End; what came before goes to deltas_.
  End RunToEnd(TokenStream& stream) {
    for (int i = 0; i < 200; ++i) {
      while (auto event = stream.TryPop(nullptr)) {
        if (auto* end = std::get_if<End>(&*event)) return *std::move(end);
        deltas_.push_back(std::get<Delta>(std::move(*event)));
      }
      engine_->RunOnce();
    }
    ADD_FAILURE() << "no end";
    return {};
  }

  ManualClock clock_;
  Recorder seen_;
  testing::FakeExecutor* executor_ = nullptr;
  std::unique_ptr<Engine> engine_;
  scheduling::Request last_;
  std::vector<Delta> deltas_;
};

TEST_F(EngineLoopTest, ATurnWithNothingToRunSaysSo) {
  EXPECT_FALSE(engine_->RunOnce());
  TokenStream stream = Submit(3, 2);
  EXPECT_TRUE(engine_->RunOnce());
  EXPECT_TRUE(engine_->RunOnce());
  EXPECT_FALSE(engine_->RunOnce()) << "the last token ends it";
  EXPECT_EQ(engine_->stats().steps, 2u);
  EXPECT_THAT(seen_.steps, ::testing::SizeIs(2));
}

TEST_F(EngineLoopTest, AStepIsReportedAsItWas) {
  TokenStream first = Submit(20, 5);
  engine_->RunOnce();
  engine_->RunOnce();
  TokenStream second = Submit(7, 5);
  engine_->RunOnce();
  ASSERT_THAT(seen_.steps, ::testing::SizeIs(3));
  EXPECT_EQ(seen_.steps[0].tokens, 16);
  EXPECT_EQ(seen_.steps[0].decodes, 0);
  EXPECT_EQ(seen_.steps[0].sequences, 1);
  EXPECT_EQ(seen_.steps[0].forward, milliseconds(1) + 16 * microseconds(10));
  EXPECT_EQ(seen_.steps[0].encode, Duration{});
  EXPECT_EQ(seen_.steps[0].version, kVersion);
  EXPECT_EQ(seen_.steps[1].tokens, 4);
  EXPECT_EQ(seen_.steps[2].tokens, 1 + 7);
  EXPECT_EQ(seen_.steps[2].decodes, 1);
  EXPECT_EQ(seen_.steps[2].sequences, 2);
  EXPECT_EQ(engine_->stats().last_step, clock_.Now());
  EXPECT_EQ(engine_->stats().scheduler.running, 2);
  EXPECT_EQ(engine_->stats().scheduler.blocks_total, 32);
  EXPECT_EQ(engine_->stats().scheduler.blocks_used, 3);
  EXPECT_EQ(engine_->stats().scheduler.planner.prompt_tokens, 27u);
}

TEST_F(EngineLoopTest, TimesAreThoseOfTheTicks) {
  TokenStream stream = Submit(6, 3);
  const End end = RunToEnd(stream);
  EXPECT_TRUE(end.status.ok());
  const Duration prompt = milliseconds(1) + 6 * microseconds(10);
  const Duration decode = milliseconds(1) + microseconds(10);
  EXPECT_THAT(seen_.firsts, ElementsAre(prompt));
  EXPECT_THAT(seen_.nexts, ElementsAre(decode, decode));
  EXPECT_THAT(seen_.lives, ElementsAre(prompt + 2 * decode));
  EXPECT_EQ(seen_.usage.generated_tokens, 3);
  EXPECT_EQ(end.usage.prefill, prompt);
  EXPECT_EQ(end.usage.decode, 2 * decode);
  EXPECT_EQ(end.version, kVersion);
}

TEST_F(EngineLoopTest, EachChoiceHasItsOwnTimesAndText) {
  TokenStream stream = Submit(6, 3, /*n=*/2);
  EXPECT_TRUE(RunToEnd(stream).status.ok());
  EXPECT_EQ(seen_.firsts.size(), 1u) << "of the request";
  EXPECT_EQ(seen_.nexts.size(), 4u) << "two after the first, of each choice";
  std::vector<std::string> text(2);
  for (const Delta& delta : deltas_) text[static_cast<std::size_t>(delta.choice)] += delta.text;
  for (int choice = 0; choice < 2; ++choice) {
    std::string expected;
    for (const auto token : testing::FakeAnswer(last_, choice, 3)) {
      expected += " " + std::to_string(token);
    }
    EXPECT_EQ(text[static_cast<std::size_t>(choice)], expected);
  }
}

TEST_F(EngineLoopTest, TheHeldBackTextComesWithTheFinish) {
  TokenStream stream = Submit(6, 2);
  EXPECT_TRUE(RunToEnd(stream).status.ok());
  ASSERT_THAT(deltas_, ::testing::SizeIs(2));
  const auto answer = testing::FakeAnswer(last_, 0, 2);
  EXPECT_EQ(deltas_[0].text, "");
  EXPECT_EQ(deltas_[1].text, " " + std::to_string(answer[0]) + " " + std::to_string(answer[1]));
  EXPECT_EQ(deltas_[0].finish, FinishReason::kNone);
  EXPECT_EQ(deltas_[1].finish, FinishReason::kLength);
}

TEST_F(EngineLoopTest, AStopStringEndsTheAnswerWithItsToken) {
  TokenStream probe = Submit(6, 3);
  RunToEnd(probe);
  const auto answer = testing::FakeAnswer(last_, 0, 3);
  deltas_.clear();
  TokenStream stream = Submit(6, 50, 1, /*stop=*/answer[1]);
  const End end = RunToEnd(stream);
  EXPECT_TRUE(end.status.ok());
  EXPECT_EQ(end.usage.generated_tokens, 2);
  EXPECT_EQ(deltas_.back().finish, FinishReason::kStop);
  EXPECT_EQ(deltas_.back().tokens.back().token, answer[1]);
}

TEST_F(EngineLoopTest, ACancelledRequestEndsInTheNextTurn) {
  TokenStream stream = Submit(6, 50);
  engine_->RunOnce();
  stream.Cancel();
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_THAT(seen_.cancelled, ElementsAre(0u));
  EXPECT_EQ(seen_.ends.back().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(engine_->load(), 0);
  EXPECT_EQ(engine_->stats().scheduler.blocks_used, 0);
}

TEST_F(EngineLoopTest, AFullStreamPausesItsRequestAlone) {
  TokenStream slow = Submit(6, 50);
  for (int i = 0; i < 10; ++i) engine_->RunOnce();
  EXPECT_EQ(engine_->stats().scheduler.paused, 1);
  EXPECT_FALSE(engine_->RunOnce());
  const std::uint64_t generated = engine_->stats().scheduler.generated_tokens;
  EXPECT_LE(generated, 5u) << "four in the buffer and one that was under way";
  auto event = slow.TryPop(nullptr);
  ASSERT_TRUE(event.has_value());
  EXPECT_TRUE(engine_->RunOnce());
  EXPECT_EQ(engine_->stats().scheduler.paused, 0);
}

TEST_F(EngineLoopTest, AFailedStepIsCountedAndItsRequestTold) {
  executor_->before_forward = [](const scheduling::StepPlan&) {
    return absl::InternalError("kernel launch");
  };
  TokenStream stream = Submit(6, 5);
  const End end = RunToEnd(stream);
  EXPECT_EQ(end.status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("kernel launch"));
  EXPECT_EQ(engine_->stats().failed_steps, 1u);
  EXPECT_EQ(engine_->stats().steps, 1u);
  EXPECT_EQ(seen_.steps.back().status.message(), "kernel launch");
}

TEST_F(EngineLoopTest, WhenTheEncoderFailsNothingElseRuns) {
  int forwards = 0;
  executor_->before_encode = [](const scheduling::StepPlan&) {
    return absl::InternalError("no encoder");
  };
  executor_->before_forward = [&forwards](const scheduling::StepPlan&) {
    ++forwards;
    return absl::OkStatus();
  };
  TokenStream stream = SubmitWithImage(5);
  EXPECT_EQ(RunToEnd(stream).status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(forwards, 0);
}

TEST_F(EngineLoopTest, ImagesAreTimedApart) {
  TokenStream stream = SubmitWithImage(1);
  const End end = RunToEnd(stream);
  EXPECT_EQ(seen_.steps[0].images, 1);
  EXPECT_EQ(seen_.steps[0].encode, milliseconds(3));
  EXPECT_EQ(seen_.steps[0].forward, milliseconds(1) + 10 * microseconds(10));
  EXPECT_EQ(end.usage.encode, milliseconds(3));
  EXPECT_EQ(end.usage.images_encoded, 1);
  EXPECT_EQ(engine_->stats().scheduler.planner.images_encoded, 1u);
}

TEST_F(EngineLoopTest, AVersionIsThereOnceAndGoesWithItsLastRequest) {
  EXPECT_EQ(Add(kVersion).code(), absl::StatusCode::kAlreadyExists);
  TokenStream stream = Submit(6, 3);
  engine_->RunOnce();
  std::vector<absl::Status> said;
  const Done done = [&said](absl::Status status) { said.push_back(std::move(status)); };
  engine_->RemoveVersion(kVersion, done);
  engine_->RunOnce();
  EXPECT_THAT(said, IsEmpty()) << "a request runs on it";
  engine_->RemoveVersion(kVersion, done);
  engine_->RunOnce();
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].code(), absl::StatusCode::kNotFound) << "it is going already";
  EXPECT_EQ(Add(kVersion).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(RunToEnd(stream).status.ok());
  ASSERT_EQ(said.size(), 2u);
  EXPECT_EQ(said[1], absl::OkStatus());
  EXPECT_EQ(executor_->versions(), 0u);
  EXPECT_EQ(Add(kVersion), absl::OkStatus());
}

TEST_F(EngineLoopTest, SoManyVersionsAndNoMore) {
  for (int i = 1; i < scheduling::kMaxVersions; ++i) {
    EXPECT_EQ(Add(Sha256Of(std::to_string(i))), absl::OkStatus());
  }
  EXPECT_EQ(Add(Sha256Of("more")).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(EngineLoopTest, SpeedIsTheTokensOfASecondOfSteps) {
  EXPECT_EQ(engine_->speed(), 0);
  TokenStream stream = Submit(16, 5);
  engine_->RunOnce();
  EXPECT_NEAR(engine_->speed(), 16 / 1.16e-3, 1);
  clock_.Advance(std::chrono::hours(1));  // idle
  engine_->RunOnce();
  EXPECT_NEAR(engine_->speed(), 17 / (1.16e-3 + 1.01e-3), 1);
}

// Its calls are back before it is ready.
TEST_F(EngineLoopTest, ADeviceThatRunsBehindSaysHowLongItEncoded) {
  executor_->wait_for_step = [&]() -> absl::StatusOr<std::optional<Duration>> {
    clock_.Advance(milliseconds(20));
    return milliseconds(12);
  };
  TokenStream stream = SubmitWithImage(2);
  engine_->RunOnce();
  engine_->RunOnce();
  ASSERT_THAT(seen_.steps, ::testing::SizeIs(2));
  // The call of the encoder took 3 ms, that of the pass 1.1.
  EXPECT_EQ(seen_.steps[0].encode, milliseconds(12));
  EXPECT_EQ(seen_.steps[0].forward, milliseconds(3 + 1 + 20 - 12) + 10 * microseconds(10));
  EXPECT_EQ(seen_.steps[1].encode, Duration{}) << "it encoded nothing";
  EXPECT_EQ(seen_.steps[1].forward, milliseconds(1 + 20) + microseconds(10));
  EXPECT_EQ(RunToEnd(stream).usage.encode, milliseconds(12));
}

class EngineBesideTest : public EngineLoopTest {
 protected:
  EngineBesideTest() { executor_->behind = true; }

  // Reads what there is.
  void Read(TokenStream& stream) {
    while (auto event = stream.TryPop(nullptr)) {
      if (auto* end = std::get_if<End>(&*event)) {
        end_ = *std::move(end);
        return;
      }
      for (const SampledToken& token : std::get<Delta>(*event).tokens) {
        tokens_.push_back(token.token);
      }
      text_ += std::get<Delta>(*event).text;
    }
  }
  // Counts the stream's tokens when each step that follows is begun, and while it runs.
  void Watch(TokenStream& stream) {
    executor_->on_launch = [&] {
      Read(stream);
      at_launch_.push_back(tokens_.size());
    };
    executor_->before_forward = [&](const scheduling::StepPlan&) {
      Read(stream);
      meanwhile_.push_back(tokens_.size());
      return absl::OkStatus();
    };
  }

  std::vector<std::int32_t> tokens_;
  std::string text_;
  std::optional<End> end_;
  std::vector<std::size_t> at_launch_, meanwhile_;
};

TEST_F(EngineBesideTest, WhatAStepGaveIsPublishedWhileTheNextOneRuns) {
  TokenStream stream = Submit(6, 4);
  Watch(stream);
  while (engine_->RunOnce()) {
  }
  Read(stream);
  EXPECT_THAT(at_launch_, ElementsAre(0, 0, 1, 2));
  EXPECT_THAT(meanwhile_, ElementsAre(0, 1, 2, 3));
  ASSERT_TRUE(end_.has_value()) << "the last turn has no step to wait for";
  EXPECT_TRUE(end_->status.ok());
  const std::vector<std::int32_t> answer = testing::FakeAnswer(last_, 0, 4);
  EXPECT_EQ(tokens_, answer);
  std::string text;
  for (const std::int32_t token : answer) text += " " + std::to_string(token);
  EXPECT_EQ(text_, text);
}

TEST_F(EngineBesideTest, ADeviceThatComputesInTheCallIsBegunWithNothingLeftToPublish) {
  executor_->behind = false;
  TokenStream stream = Submit(6, 4);
  Watch(stream);
  while (engine_->RunOnce()) {
  }
  EXPECT_THAT(at_launch_, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(meanwhile_, ElementsAre(0, 1, 2, 3));
}

TEST_F(EngineBesideTest, AnEndIsPublishedWhileTheStepOfOthersRuns) {
  TokenStream stream = Submit(6, 2);
  TokenStream other = Submit(6, 3);
  std::vector<bool> ended;
  executor_->before_forward = [&](const scheduling::StepPlan&) {
    Read(stream);
    ended.push_back(end_.has_value());
    return absl::OkStatus();
  };
  for (int i = 0; i < 3; ++i) engine_->RunOnce();
  EXPECT_THAT(ended, ElementsAre(false, false, true));
  EXPECT_EQ(engine_->load(), 6 + 3);
}

TEST_F(EngineBesideTest, AStepThatFailsHoldsUpNoToken) {
  TokenStream stream = Submit(6, 3);
  engine_->RunOnce();
  executor_->wait_for_step = [] { return absl::InternalError("the device is gone"); };
  engine_->RunOnce();
  Read(stream);
  EXPECT_EQ(tokens_, testing::FakeAnswer(last_, 0, 1));
  EXPECT_FALSE(engine_->RunOnce());
  Read(stream);
  ASSERT_TRUE(end_.has_value());
  EXPECT_EQ(end_->status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(tokens_.size(), 1u);
}

TEST_F(EngineBesideTest, AVersionGoesBetweenTwoStepsAndAfterItsLastAnswer) {
  const Digest other = Sha256Of("v2");
  EXPECT_EQ(Add(other), absl::OkStatus());
  TokenStream stays = Submit(6, 20);
  scheduling::Request request;
  request.version = other;
  request.arrival = clock_.Now();
  request.prompt_ids = {1, 2, 3};
  request.sampling.max_tokens = 1;
  TokenStream goes = Submit(std::move(request));
  std::optional<bool> had_ended;
  int under_way = 0;
  executor_->on_launch = [&] { ++under_way; };
  executor_->before_forward = [&](const scheduling::StepPlan&) {
    --under_way;
    return absl::OkStatus();
  };
  engine_->RemoveVersion(other, [&](const absl::Status& status) {
    EXPECT_EQ(status, absl::OkStatus());
    EXPECT_EQ(under_way, 0);
    Read(goes);
    had_ended = end_.has_value();
  });
  for (int i = 0; i < 6 && !had_ended; ++i) engine_->RunOnce();
  EXPECT_EQ(had_ended, std::optional<bool>(true));
  EXPECT_EQ(executor_->versions(), 1u);
  EXPECT_TRUE(engine_->RunOnce()) << "the other one is still at work";
}

TEST_F(EngineLoopTest, AStepThatFailsBehindTheCallsHasFailed) {
  executor_->wait_for_step = [] { return absl::InternalError("the device is gone"); };
  TokenStream stream = Submit(3, 5);
  EXPECT_EQ(RunToEnd(stream).status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(engine_->stats().failed_steps, 1u);
  EXPECT_EQ(engine_->stats().steps, 1u);
}

TEST_F(EngineLoopTest, LoadIsTheTokensOfWhatIsAccepted) {
  TokenStream first = Submit(10, 20, 2);
  EXPECT_EQ(engine_->load(), 10 + 2 * 20);
  TokenStream second = Submit(5, 3);
  EXPECT_EQ(engine_->load(), 50 + 8);
  RunToEnd(second);
  EXPECT_EQ(engine_->load(), 50);
}

TEST_F(EngineLoopTest, StopEndsAllAndIsAllowedTwice) {
  TokenStream running = Submit(6, 50);
  engine_->RunOnce();
  TokenStream waiting = Submit(6, 50);
  engine_->Stop();
  engine_->Stop();
  for (TokenStream* stream : {&running, &waiting}) {
    std::optional<End> end;
    while (auto event = stream->TryPop(nullptr)) {
      if (auto* last = std::get_if<End>(&*event)) end = *last;
    }
    ASSERT_TRUE(end.has_value());
    EXPECT_EQ(end->status.code(), absl::StatusCode::kUnavailable);
  }
}

TEST_F(EngineLoopTest, TheStatsHaveTheGraphsOfTheExecutor) {
  executor_->graph_counts = {.held = 2, .bytes = 300, .captures = 4, .replays = 50, .failures = 1};
  engine_->RunOnce();
  const GraphCounts graphs = engine_->stats().graphs;
  EXPECT_EQ(graphs.held, 2);
  EXPECT_EQ(graphs.bytes, 300);
  EXPECT_EQ(graphs.captures, 4u);
  EXPECT_EQ(graphs.replays, 50u);
  EXPECT_EQ(graphs.failures, 1u);
}

}  // namespace
}  // namespace llava::engine
