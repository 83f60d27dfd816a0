#include "server/engine/inbox.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/fake_executor.h"

namespace llava::engine {
namespace {

using scheduling::RequestId;

class InboxTest : public ::testing::Test {
 protected:
  ~InboxTest() override {
    for (Submitted& submitted : sent_) submitted.sink.PushEnd({});
  }

  // One request; false when the inbox does not take it.
  bool Submit(std::uint64_t id) {
    auto request = std::make_unique<scheduling::Request>();
    request->id = RequestId(id);
    auto [sink, stream] = MakeTokenStream(request->id, 8, &control_);
    streams_.push_back(std::move(stream));
    Submitted submitted{std::move(request), {}, nullptr, std::move(sink), 0};
    if (inbox_.TrySubmit(submitted)) return true;
    EXPECT_NE(submitted.request, nullptr) << "it is untouched";
    sent_.push_back(std::move(submitted));
    return false;
  }

  Messages Take() {
    Messages messages = inbox_.TakeAll();
    std::vector<std::uint64_t> ids;
    for (Submitted& submitted : messages.submitted) {
      ids.push_back(submitted.request->id.value());
      sent_.push_back(std::move(submitted));
    }
    taken_ = ids;
    messages.submitted.clear();
    return messages;
  }

  struct NoControl final : StreamControl {
    void Cancel(RequestId) override {}
    void Resume(RequestId) override {}
  };

  NoControl control_;
  Inbox inbox_{2};
  std::vector<TokenStream> streams_;
  std::vector<Submitted> sent_;
  std::vector<std::uint64_t> taken_;
};

TEST_F(InboxTest, TakesUpToItsCapacityInOrder) {
  EXPECT_TRUE(Submit(1));
  EXPECT_TRUE(Submit(2));
  EXPECT_FALSE(Submit(3));
  Take();
  EXPECT_EQ(taken_, (std::vector<std::uint64_t>{1, 2}));
  EXPECT_TRUE(Submit(4)) << "there is room again";
  Take();
  EXPECT_EQ(taken_, (std::vector<std::uint64_t>{4}));
}

TEST_F(InboxTest, CancelsAndResumesAreNeverTooMany) {
  for (std::uint64_t id = 0; id < 100; ++id) {
    inbox_.Cancel(RequestId(id));
    inbox_.Resume(RequestId(id));
  }
  const Messages messages = Take();
  EXPECT_EQ(messages.cancelled.size(), 100u);
  EXPECT_EQ(messages.resumed.size(), 100u);
  EXPECT_TRUE(Take().empty()) << "each is taken once";
}

TEST_F(InboxTest, ACancelKnowsTheStepsBefore) {
  inbox_.Cancel(RequestId(1));
  inbox_.StepBegins();
  inbox_.StepBegins();
  inbox_.Cancel(RequestId(2));
  const Messages messages = Take();
  ASSERT_EQ(messages.cancelled.size(), 2u);
  EXPECT_EQ(messages.cancelled[0].steps, 0u);
  EXPECT_EQ(messages.cancelled[1].steps, 2u);
}

TEST_F(InboxTest, AClosedOneTakesNoMoreAndSaysSo) {
  EXPECT_FALSE(Take().closed);
  inbox_.Close();
  EXPECT_FALSE(Submit(1));
  std::vector<absl::Status> said;
  const Done done = [&said](absl::Status status) { said.push_back(std::move(status)); };
  inbox_.AddVersion(std::make_shared<testing::FakeModel>(Sha256Of("v")), done);
  inbox_.RemoveVersion(Sha256Of("v"), done);
  ASSERT_EQ(said.size(), 2u);
  for (const absl::Status& status : said) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  }
  inbox_.Cancel(RequestId(1));  // still heard: its stream ends with the others
  const Messages messages = Take();
  EXPECT_TRUE(messages.closed);
  EXPECT_TRUE(messages.add_versions.empty());
  EXPECT_TRUE(messages.remove_versions.empty());
  EXPECT_EQ(messages.cancelled.size(), 1u);
}

TEST_F(InboxTest, VersionsComeWithWhoWantsToKnow) {
  int told = 0;
  const Digest version = Sha256Of("v");
  inbox_.AddVersion(std::make_shared<testing::FakeModel>(version), [&](absl::Status) { ++told; });
  inbox_.RemoveVersion(version, [&](absl::Status) { told += 10; });
  const Messages messages = Take();
  ASSERT_EQ(messages.add_versions.size(), 1u);
  ASSERT_EQ(messages.remove_versions.size(), 1u);
  EXPECT_EQ(messages.add_versions[0].first->version(), version);
  EXPECT_EQ(messages.remove_versions[0].first, version);
  EXPECT_EQ(told, 0) << "not before the engine has done it";
  messages.add_versions[0].second(absl::OkStatus());
  messages.remove_versions[0].second(absl::OkStatus());
  EXPECT_EQ(told, 11);
}

TEST_F(InboxTest, MessagesThatAreNotEmpty) {
  EXPECT_TRUE(Messages().empty());
  Messages messages;
  messages.resumed.push_back(RequestId(1));
  EXPECT_FALSE(messages.empty());
  messages = {};
  messages.cancelled.push_back({RequestId(1), 0});
  EXPECT_FALSE(messages.empty());
  messages = {};
  messages.remove_versions.emplace_back(Sha256Of("v"), nullptr);
  EXPECT_FALSE(messages.empty());
  messages = {};
  messages.add_versions.emplace_back(nullptr, nullptr);
  EXPECT_FALSE(messages.empty());
}

TEST_F(InboxTest, WaitReturnsAtOnceWhenThereIsSomething) {
  inbox_.Resume(RequestId(1));
  inbox_.Wait(std::nullopt);
  EXPECT_EQ(Take().resumed.size(), 1u);
  inbox_.Close();
  inbox_.Wait(std::nullopt);
}

TEST_F(InboxTest, WaitEndsAtItsDeadline) {
  const RealClock clock;
  inbox_.Wait(clock.Now());
  EXPECT_TRUE(Take().empty());
}

TEST_F(InboxTest, EachMessageWakesTheEngine) {
  const std::vector<std::function<void()>> all = {
      [this] { Submit(1); },
      [this] { inbox_.Cancel(RequestId(1)); },
      [this] { inbox_.Resume(RequestId(1)); },
      [this] { inbox_.AddVersion(nullptr, nullptr); },
      [this] { inbox_.RemoveVersion(Sha256Of("v"), nullptr); },
      [this] { inbox_.Close(); }};
  for (const auto& send : all) {
    std::jthread engine([this] { inbox_.Wait(std::nullopt); });
    send();
    engine.join();  // or the test hangs
    Take();
  }
}

}  // namespace
}  // namespace llava::engine
