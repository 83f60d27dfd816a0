#include "server/capture/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/gate.h"
#include "capture/shard.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"

namespace llava::capture {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RecorderTest : public ::testing::Test {
 protected:
  RecorderTest() : metrics_(&registry_) {}

  void Open() {
    auto recorder = Recorder::Open(options_, &clock_, &metrics_);
    ASSERT_TRUE(recorder.ok()) << recorder.status();
    recorder_ = *std::move(recorder);
  }

  void Record(Row row, std::string answer) {
    row.said.pop_back();
    auto turn = recorder_->Hold(std::move(row), "");
    ASSERT_NE(turn, nullptr);
    turn->answer = std::move(answer);
    recorder_->Record(std::move(turn));
  }

  // Waits for what `start` asks.
  template <typename T>
  static T Await(const std::function<void(std::function<void(T)>)>& start) {
    Gate gate;
    gate.Enter();
    std::unique_ptr<T> result;
    start([&](T value) {
      result = std::make_unique<T>(std::move(value));
      gate.Leave();
    });
    gate.CloseAndWait(TimePoint::max());
    return *std::move(result);
  }

  absl::Status Judge(const std::string& id, Verdict verdict) {
    return Await<absl::Status>([&](std::function<void(absl::Status)> done) {
      recorder_->Judge("ann", id, std::move(verdict), std::move(done));
    });
  }

  std::string Metrics() const {
    return prometheus::TextSerializer().Serialize(registry_.Collect());
  }

  // Of the only shard.
  std::string Rows() const {
    const auto names = *ListShards(options_.store.dir);
    EXPECT_THAT(names, SizeIs(1));
    return names.empty() ? ""
                         : *ReadFile(RowsFile(ShardFolder(options_.store.dir, names[0])), 1 << 20);
  }

  const test::TempDir dir_;
  const RealClock clock_;
  prometheus::Registry registry_;
  observe::Metrics metrics_;
  Recorder::Options options_{.store = {.dir = dir_.path() + "/capture"},
                             .agreed = {.texts = {"ann"}, .pictures = {"bob"}}};
  std::unique_ptr<Recorder> recorder_;
};

TEST_F(RecorderTest, WhatWasRecordedIsThereWhenItStops) {
  Open();
  Record(test::CapturedRow("ann", "r1"), "An answer.");
  EXPECT_TRUE(Judge("r1", {.thumb = Thumb::kUp}).ok()) << "it comes behind its answer";
  recorder_->Stop();
  EXPECT_THAT(Rows(), HasSubstr("An answer."));
  EXPECT_THAT(Metrics(), AllOf(HasSubstr("llava_captured_turns_total 1"),
                               HasSubstr("llava_feedback_total{verdict=\"up\"} 1")));
  EXPECT_TRUE(absl::IsUnavailable(Judge("r1", {})));
}

TEST_F(RecorderTest, EachTenantAgreesForItself) {
  Open();
  EXPECT_EQ(recorder_->AgreedBy("ann"), Agreement::kTexts);
  EXPECT_EQ(recorder_->AgreedBy("bob"), Agreement::kPictures);
  EXPECT_EQ(recorder_->AgreedBy("eve"), Agreement::kNothing);
  recorder_->SetAgreed({.pictures = {"eve"}});
  EXPECT_EQ(recorder_->AgreedBy("ann"), Agreement::kNothing);
  EXPECT_EQ(recorder_->AgreedBy("eve"), Agreement::kPictures);
}

TEST_F(RecorderTest, OfWhoAgreesNoMoreNothingIsKept) {
  Open();
  Row row = test::CapturedRow("ann", "r1");
  row.said.pop_back();
  auto turn = recorder_->Hold(row, "");
  ASSERT_NE(turn, nullptr);
  turn->answer = "An answer.";
  recorder_->SetAgreed({.texts = {}, .pictures = {"eve"}});
  recorder_->Record(std::move(turn));
  recorder_->Stop();
  EXPECT_THAT(*ListShards(options_.store.dir), IsEmpty());
}

TEST_F(RecorderTest, TheMetricsHaveTheBytesOfEachTenantThatAgreed) {
  Open();
  Record(test::CapturedRow("ann", "r1"), "An answer.");
  ASSERT_TRUE(Judge("r1", {.thumb = Thumb::kUp}).ok());
  recorder_->Stop();
  const std::int64_t bytes = FolderBytes(ShardsFolder(options_.store.dir));
  EXPECT_GT(bytes, 0);
  EXPECT_THAT(Metrics(),
              AllOf(HasSubstr(absl::StrCat("llava_captured_tenant_bytes{tenant=\"ann\"} ", bytes)),
                    HasSubstr("llava_captured_tenant_bytes{tenant=\"bob\"} 0")));
  // Whose rows are there still, and who is not named any more.
  options_.agreed = {.texts = {}, .pictures = {"bob"}};
  recorder_.reset();
  Open();
  recorder_->Stop();
  EXPECT_THAT(
      Metrics(),
      AllOf(HasSubstr(absl::StrCat("llava_captured_tenant_bytes{tenant=\"other\"} ", bytes)),
            Not(HasSubstr("llava_captured_tenant_bytes{tenant=\"ann\"}"))));
}

TEST_F(RecorderTest, WhatCannotBeLearnedFromIsDroppedAndCounted) {
  Open();
  Record(test::CapturedRow("ann", "r1"), "");
  Record(test::CapturedRow("ann", "r2"), "I see <image>.");
  recorder_->Stop();
  EXPECT_THAT(*ListShards(options_.store.dir), IsEmpty());
  EXPECT_THAT(Metrics(), AllOf(HasSubstr("llava_capture_dropped_turns_total{reason=\"empty\"} 1"),
                               HasSubstr("llava_capture_dropped_turns_total{reason=\"mark\"} 1")));
}

TEST_F(RecorderTest, TurnsThatAreAnsweredHaveABoundTogether) {
  options_.held_bytes = 100'000;
  Open();
  const Row row = test::CapturedPicture("bob", "r1", std::string(60'000, 'x'));
  auto held = recorder_->Hold(row, "");
  EXPECT_NE(held, nullptr);
  EXPECT_EQ(recorder_->Hold(row, ""), nullptr);
  EXPECT_THAT(Metrics(), HasSubstr("llava_capture_dropped_turns_total{reason=\"memory\"} 1"));
  held.reset();
  EXPECT_NE(recorder_->Hold(row, ""), nullptr) << "a turn that ended gives its room back";
}

TEST_F(RecorderTest, OfTheDiskClientsAreToldNothingAndTheLogAll) {
  std::string problem;
  options_.on_problem = [&](const absl::Status& status) { problem = status.ToString(); };
  Open();
  Record(test::CapturedRow("ann", "r1"), "An answer.");
  ASSERT_TRUE(Judge("r1", {.thumb = Thumb::kUp}).ok());
  std::filesystem::remove_all(ShardsFolder(options_.store.dir));
  const absl::Status status = Judge("r1", {.thumb = Thumb::kDown});
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr(dir_.path())));
  recorder_->Stop();
  EXPECT_THAT(problem, HasSubstr(dir_.path()));
}

TEST_F(RecorderTest, AFullQueueDropsTurnsAndRefusesVerdicts) {
  options_.queue = 1;
  Open();
  Gate busy, release;
  busy.Enter();
  release.Enter();
  // Its thread stands still in the work that is done for this one.
  recorder_->Judge("ann", "none", {}, [&](const absl::Status&) {
    busy.Leave();
    release.CloseAndWait(TimePoint::max());
  });
  busy.CloseAndWait(TimePoint::max());
  Record(test::CapturedRow("ann", "r1"), "It waits.");
  Record(test::CapturedRow("ann", "r2"), "It is one too many.");
  EXPECT_TRUE(absl::IsResourceExhausted(Judge("r1", {.thumb = Thumb::kUp})));
  release.Leave();
  recorder_->Stop();
  EXPECT_THAT(Rows(), AllOf(HasSubstr("It waits."), Not(HasSubstr("one too many"))));
  EXPECT_THAT(Metrics(), HasSubstr("llava_capture_dropped_turns_total{reason=\"queue\"} 1"));
}

TEST_F(RecorderTest, AConversationIsForgotten) {
  Open();
  Record(test::CapturedRow("ann", "r1"), "An answer.");
  const auto removed =
      Await<absl::StatusOr<Removed>>([&](std::function<void(absl::StatusOr<Removed>)> done) {
        recorder_->Remove("ann", "r1", std::move(done));
      });
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->deleted, 1);
  recorder_->Stop();
  EXPECT_THAT(*ListShards(options_.store.dir), IsEmpty());
}

}  // namespace
}  // namespace llava::capture
