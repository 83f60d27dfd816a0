#include "server/registry/adapter_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/bounded_queue.h"
#include "server/engine/engine.h"
#include "server/registry/version_directory.h"
#include "server/scheduling/admission.h"
#include "tests/unit/server/registry/adapter_fixture.h"

namespace llava::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The real clock, which a test can put forward while the table's thread reads it.
class ShiftedClock final : public Clock {
 public:
  TimePoint Now() const override { return RealClock().Now() + shift_.load(); }
  std::int64_t UnixMillis() const override { return RealClock().UnixMillis(); }
  void Advance(Duration d) { shift_ = d; }

 private:
  std::atomic<Duration> shift_ = Duration::zero();
};

class AdapterTableTest : public ::testing::Test {
 protected:
  AdapterTableTest() { base_.models = {ModelOf("a", ProcessorOf())}; }

  void Start() { table_.Start(); }
  absl::Status Await(const AdapterTable::Ticket& ticket) {
    return *table_.Await(ticket, TimePoint::max());
  }
  absl::Status Load(const std::string& name, const std::string& dir) {
    const auto ticket = table_.Load(name, dir);
    return ticket.ok() ? Await(*ticket) : ticket.status();
  }
  // "a serving, b draining"
  std::string Listed() {
    std::string text;
    for (const AdapterInfo& info : table_.List()) {
      absl::StrAppend(&text, text.empty() ? "" : ", ", info.name, " ", StateName(info.state));
    }
    return text;
  }
  std::string Find(const std::string& name, const std::string& key = "") {
    const auto found = table_.Find(name, key);
    return found.ok() ? found->loaded->adapter->digest().Hex()
                      : std::string(found.status().message());
  }

  ShiftedClock clock_;
  FakeDirectory base_;
  FakeAdapterLoader loader_;
  std::vector<std::string> told_;
  AdapterTable table_{{.max_adapters = 2, .max_bytes = 250},
                      &loader_,
                      &base_,
                      &clock_,
                      [this](const AdapterInfo& info) {
                        told_.push_back(absl::StrCat(info.name, " ", StateName(info.state)));
                      }};
};

TEST_F(AdapterTableTest, IsFoundWhenItIsLoaded) {
  const auto ticket = table_.Load("one", "dir");
  const auto loading = table_.Find("one", "").status();
  EXPECT_EQ(loading.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(scheduling::RetryAfter(loading).has_value());
  EXPECT_EQ(table_.Load("one", "dir").status().code(), absl::StatusCode::kFailedPrecondition);
  Start();
  EXPECT_TRUE(Await(*ticket).ok());
  EXPECT_EQ(Find("one"), Sha256Of("dir").Hex());
  EXPECT_EQ(table_.All().size(), 1u);
  const AdapterInfo info = table_.List().at(0);
  EXPECT_EQ(info.bytes, 100);
  EXPECT_EQ(info.rank, 4);
  EXPECT_THAT(Find("two"), HasSubstr("expected one"));
  EXPECT_THAT(told_, ElementsAre("one loading", "one serving"));
}

TEST_F(AdapterTableTest, WaitsForAVersionOfTheModel) {
  const auto model = base_.models;
  base_.models = {};
  Start();
  const auto ticket = table_.Load("one", "dir");
  EXPECT_FALSE(table_.Await(*ticket, RealClock().Now() + std::chrono::milliseconds(20)));
  base_.models = model;
  table_.BaseChanged();
  EXPECT_TRUE(Await(*ticket).ok());
}

TEST_F(AdapterTableTest, AVersionThatComesWhileItIsLookedForIsFound) {
  const auto models = std::exchange(base_.models, {});
  int looked = 0;
  base_.before_list = [&] {
    ++looked == 1 ? table_.BaseChanged() : void(base_.models = models);  // too late for the first
  };
  Start();
  EXPECT_TRUE(Load("one", "dir").ok());
  table_.Stop();
}

TEST_F(AdapterTableTest, AFailureIsListedAndCanBeTriedAgain) {
  Start();
  EXPECT_EQ(Load("one", "bad").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Listed(), "one failed");
  EXPECT_EQ(table_.Find("one", "").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Find("one"), HasSubstr("could not be loaded"));
  EXPECT_EQ(table_.List().at(0).reason, "bad: is torn");
  EXPECT_TRUE(Load("one", "good").ok());
  EXPECT_EQ(Load("one", "bad").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Find("one"), Sha256Of("good").Hex()) << "the one before stays";
  EXPECT_THAT(table_.List().at(0).reason, HasSubstr("still served"));
}

TEST_F(AdapterTableTest, WhatIsRemovedOrReplacedDrains) {
  Start();
  ASSERT_TRUE(Load("one", "dir").ok());
  auto user = table_.Find("one", "")->loaded->adapter;
  ASSERT_TRUE(Load("one", "other").ok());
  EXPECT_EQ(Listed(), "one serving, one draining");
  EXPECT_EQ(Load("two", "third").code(), absl::StatusCode::kResourceExhausted)
      << "the bytes of the one that drains count";
  user = nullptr;
  EXPECT_EQ(Listed(), "one serving, two failed");
  EXPECT_TRUE(table_.Remove("one").ok());
  EXPECT_EQ(Listed(), "two failed");
  EXPECT_EQ(table_.Find("one", "").status().code(), absl::StatusCode::kNotFound);
  const absl::Status gone = table_.Remove("one");
  EXPECT_EQ(gone.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(gone.message(), "name: there is no adapter one, expected two");
  EXPECT_EQ(table_.Remove("").message(), "name: there is no adapter without a name, expected two");
}

TEST_F(AdapterTableTest, HasSoManyAtTheMost) {
  Start();
  ASSERT_TRUE(Load("one", "a").ok());
  EXPECT_FALSE(Load("two", "bad").ok());
  EXPECT_TRUE(Load("three", "b").ok()) << "in the place of the one that failed";
  EXPECT_EQ(Load("four", "c").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Listed(), "one serving, three serving");
}

TEST_F(AdapterTableTest, OneThatIsRemovedWhileItIsLoadedIsNotServed) {
  BoundedQueue<int> begun(1), go_on(1);
  loader_.before_load = [&] {
    begun.Push(0);
    go_on.Pop();
  };
  Start();
  const auto ticket = table_.Load("one", "dir");
  begun.Pop();
  EXPECT_TRUE(table_.Remove("one").ok());
  EXPECT_EQ(Await(*ticket).code(), absl::StatusCode::kAborted);
  const auto again = table_.Load("two", "other");
  loader_.before_load = nullptr;
  go_on.Push(0);
  EXPECT_TRUE(Await(*again).ok());
  EXPECT_EQ(Listed(), "two serving");
}

// Between the look at whose turn it is and the look at what it is, the lock is not held.
TEST_F(AdapterTableTest, OneThatIsRemovedAsItsTurnComesTakesNobodysTurn) {
  BoundedQueue<int> begun(1), go_on(1);
  std::atomic<bool> first = true;
  base_.before_list = [&] {
    if (!first.exchange(false)) return;
    begun.Push(0);
    go_on.Pop();
  };
  int loads = 0;
  loader_.before_load = [&] { ++loads; };
  const auto one = table_.Load("one", "dir");
  Start();
  begun.Pop();
  EXPECT_TRUE(table_.Remove("one").ok());
  const auto two = table_.Load("two", "other");
  go_on.Push(0);
  EXPECT_TRUE(Await(*two).ok());
  EXPECT_EQ(Await(*one).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Listed(), "two serving");
  EXPECT_EQ(loads, 1);
}

// The same, but asked for again from elsewhere.
TEST_F(AdapterTableTest, OneThatIsReplacedAsItsTurnComesIsReadFromItsNewFolder) {
  BoundedQueue<int> begun(1), go_on(1);
  std::atomic<bool> first = true;
  base_.before_list = [&] {
    if (!first.exchange(false)) return;
    begun.Push(0);
    go_on.Pop();
  };
  const auto old = table_.Load("one", "bad");
  Start();
  begun.Pop();
  EXPECT_TRUE(table_.Remove("one").ok());
  const auto fresh = table_.Load("one", "good");
  go_on.Push(0);
  EXPECT_TRUE(Await(*fresh).ok());
  EXPECT_EQ(Find("one"), Sha256Of("good").Hex());
}

TEST_F(AdapterTableTest, NamesAreSimple) {
  for (const std::string& name : {std::string(), std::string("a:b"), std::string("a@b"),
                                  std::string("a b"), std::string(65, 'a')}) {
    EXPECT_EQ(Load(name, "dir").code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(AdapterTableTest, StoppingEndsWhatWaits) {
  const auto ticket = table_.Load("one", "dir");
  table_.Stop();
  EXPECT_EQ(Await(*ticket).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Load("two", "dir").code(), absl::StatusCode::kUnavailable);
}

TEST_F(AdapterTableTest, IsFailedBesideAVersionOfOtherProducts) {
  Start();
  ASSERT_TRUE(Load("one", "dir").ok());
  base_.models = {ModelOf("b", ProcessorOf(1000))};
  EXPECT_EQ(Listed(), "one failed");
  EXPECT_THAT(table_.List().at(0).reason, HasSubstr("[1000, "));
}

TEST_F(AdapterTableTest, WhatIsServedIsListedWithItsOwnFolder) {
  Start();
  ASSERT_TRUE(Load("one", "dir").ok());
  EXPECT_FALSE(Load("one", "bad").ok());
  EXPECT_EQ(table_.List().at(0).dir, "dir");
  auto user = table_.Find("one", "")->loaded->adapter;
  ASSERT_TRUE(Load("one", "other").ok());
  EXPECT_EQ(table_.List().at(0).dir, "other");
  EXPECT_EQ(table_.List().at(1).dir, "dir");
}

// Beside a model whose engine answers.
class AdapterProbesTest : public AdapterTableTest {
 protected:
  AdapterProbesTest() {
    engine::EngineOptions options;
    options.scheduler.num_blocks = 32;
    engine_ = std::make_unique<engine::Engine>(options, std::make_unique<testing::FakeExecutor>(32),
                                               &clock_, nullptr);
    engine_->Start();
    const auto version = std::make_shared<testing::FakeModel>(Sha256Of("a"));
    BoundedQueue<absl::Status> added(1);
    engine_->AddVersion(version, [&](absl::Status status) { added.Push(std::move(status)); });
    EXPECT_TRUE(added.Pop()->ok());
    auto model = std::make_shared<ServedModel>(*base_.models[0]);
    model->engines = {engine_.get()};
    base_.models = {model};
    PreparedProbe probe{.name = "a red square", .request = {}, .expected = {}};
    probe.request.prompt_ids = {1, 2, 3};
    probe.request.sampling.max_tokens = 4;
    scheduling::Request asked = probe.request;
    asked.version = Sha256Of("a");
    asked.adapter = std::make_shared<testing::FakeAdapter>(Sha256Of("right"));
    probe.expected = testing::FakeAnswer(asked, 0, 4);
    loader_.probes = {probe};
  }
  ~AdapterProbesTest() override {
    table_.Stop();
    base_.models = {};
    engine_->Stop();
  }

  std::unique_ptr<engine::Engine> engine_;
};

TEST_F(AdapterProbesTest, OneThatAnswersThemOtherwiseIsNotServed) {
  Start();
  const absl::Status wrong = Load("one", "wrong");
  EXPECT_EQ(wrong.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(wrong.message()), HasSubstr("probe \"a red square\" answered ids ["));
  EXPECT_EQ(Listed(), "one failed");
  EXPECT_THAT(table_.List().at(0).reason, HasSubstr("expected ["));
  EXPECT_TRUE(Load("one", "right").ok());
  EXPECT_FALSE(Load("one", "wrong").ok());
  EXPECT_EQ(Find("one"), Sha256Of("right").Hex()) << "the one before stays";
}

// Half of the conversations see what is to replace another.
class AdapterCanaryTest : public AdapterTableTest {
 protected:
  AdapterCanaryTest() {
    canaries_.Start();
    EXPECT_TRUE(Await("one", "old").ok());
    EXPECT_TRUE(Await("one", "new").ok());
  }
  absl::Status Await(const std::string& name, const std::string& dir) {
    return *canaries_.Await(*canaries_.Load(name, dir), TimePoint::max());
  }
  std::string States() {
    std::string text;
    for (const AdapterInfo& info : canaries_.List()) {
      absl::StrAppend(&text, text.empty() ? "" : ", ", info.dir, " ", StateName(info.state));
    }
    return text;
  }
  void Observe(const std::string& dir, const Observation& observation, int times) {
    for (int i = 0; i < times; ++i) canaries_.Observe(Sha256Of(dir), observation);
  }
  // Of a hundred conversations.
  int SeeTheNewOne() {
    int see = 0;
    for (int i = 0; i < 100; ++i) {
      const auto found = canaries_.Find("one", absl::StrCat(i));
      see += found->loaded->adapter->digest() == Sha256Of("new") ? 1 : 0;
    }
    return see;
  }

  BoundedQueue<std::string> served_{8};  // folders
  AdapterTable canaries_{{.canary = {.traffic = 0.5,
                                     .min_answers = 5,
                                     .enough_answers = 10,
                                     .longest = std::chrono::minutes(10)}},
                         &loader_,
                         &base_,
                         &clock_,
                         [this](const AdapterInfo& info) {
                           if (info.state == AdapterState::kServing)
                             served_.Push(std::string(info.dir));
                         }};
};

TEST_F(AdapterCanaryTest, ReplacesTheOldOneWhenItWasNotWorse) {
  EXPECT_EQ(States(), "old serving, new canary");
  EXPECT_TRUE(canaries_.IsJudging());
  EXPECT_GT(SeeTheNewOne(), 20);
  EXPECT_LT(SeeTheNewOne(), 80);
  Observe("old", {}, 10);
  Observe("new", {}, 9);
  EXPECT_EQ(States(), "old serving, new canary");
  Observe("new", {}, 1);
  EXPECT_EQ(States(), "new serving");
  EXPECT_EQ(SeeTheNewOne(), 100);
  EXPECT_FALSE(canaries_.IsJudging());
  EXPECT_EQ(canaries_.List().at(0).reason, "");
}

TEST_F(AdapterCanaryTest, OneThatIsWorseGoesAndTheOldOneStays) {
  Observe("old", {}, 10);
  Observe("new", {.failed = true}, 5);
  EXPECT_EQ(States(), "old serving");
  EXPECT_EQ(SeeTheNewOne(), 0);
  EXPECT_THAT(canaries_.List().at(0).reason, HasSubstr("the one before is still served: new: "));
}

TEST_F(AdapterCanaryTest, ReplacesTheOldOneAfterAWhileThoughFewAsk) {
  EXPECT_EQ(served_.Pop(), "old");
  clock_.Advance(std::chrono::minutes(11));
  EXPECT_EQ(served_.Pop(), "new");
}

TEST_F(AdapterCanaryTest, AnotherOneTakesTheCanarysPlace) {
  auto user = canaries_.Find("one", "1");
  EXPECT_TRUE(Await("one", "newest").ok());
  user = canaries_.Find("none", "");
  EXPECT_EQ(States(), "old serving, newest canary");
  EXPECT_FALSE(Await("one", "bad").ok());
  EXPECT_EQ(States(), "old serving, newest canary");
}

TEST_F(AdapterCanaryTest, WhatComputesTheSameNeedsNoCanary) {
  EXPECT_TRUE(Await("one", "old").ok());
  EXPECT_EQ(States(), "old serving") << "and what was to come is superseded";
  EXPECT_TRUE(canaries_.Remove("one").ok());
  EXPECT_EQ(States(), "");
}

TEST_F(AdapterCanaryTest, TakesThePlaceAtOnceOfOneThatCannotAnswer) {
  EXPECT_TRUE(canaries_.Remove("one").ok());
  EXPECT_TRUE(Await("one", "old").ok());
  base_.models = {ModelOf("b", ProcessorOf(1000))};
  EXPECT_EQ(States(), "old failed");
  EXPECT_TRUE(Await("one", "new").ok());
  EXPECT_EQ(States(), "new serving");
  EXPECT_EQ(SeeTheNewOne(), 100);
}

TEST_F(AdapterCanaryTest, IsSeenByOthersThanAVersionsCanary) {
  int both = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string key = absl::StrCat(i);
    const auto found = canaries_.Find("one", key);
    const bool sees = found->loaded->adapter->digest() == Sha256Of("new");
    both += sees && TrafficBucket(key) < 0.5 ? 1 : 0;
  }
  EXPECT_GT(both, 10);
  EXPECT_LT(both, 40);
}

TEST_F(AdapterCanaryTest, IsRemovedWithTheOldOne) {
  EXPECT_TRUE(canaries_.Remove("one").ok());
  EXPECT_EQ(States(), "");
  Observe("new", {}, 1);  // nobody is compared any more
}

}  // namespace
}  // namespace llava::registry
