#include "server/registry/adapter_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/bounded_queue.h"
#include "server/scheduling/admission.h"
#include "tests/unit/server/registry/adapter_fixture.h"

namespace llava::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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
  std::string Find(const std::string& name) {
    const auto found = table_.Find(name);
    return found.ok() ? found->loaded->adapter->digest().Hex()
                      : std::string(found.status().message());
  }

  ManualClock clock_;
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
  const auto loading = table_.Find("one").status();
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

TEST_F(AdapterTableTest, AFailureIsListedAndCanBeTriedAgain) {
  Start();
  EXPECT_EQ(Load("one", "bad").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Listed(), "one failed");
  EXPECT_EQ(table_.Find("one").status().code(), absl::StatusCode::kFailedPrecondition);
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
  auto user = table_.Find("one")->loaded->adapter;
  ASSERT_TRUE(Load("one", "other").ok());
  EXPECT_EQ(Listed(), "one serving, one draining");
  EXPECT_EQ(Load("two", "third").code(), absl::StatusCode::kResourceExhausted)
      << "the bytes of the one that drains count";
  user = nullptr;
  EXPECT_EQ(Listed(), "one serving, two failed");
  EXPECT_TRUE(table_.Remove("one").ok());
  EXPECT_EQ(Listed(), "two failed");
  EXPECT_EQ(table_.Find("one").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(table_.Remove("one").code(), absl::StatusCode::kNotFound);
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

}  // namespace
}  // namespace llava::registry
