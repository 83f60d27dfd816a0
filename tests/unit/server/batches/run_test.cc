#include "server/batches/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "tests/support/batch_file.h"
#include "tests/support/temp_dir.h"

namespace llava::batches {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kMaxLine = 1000;
constexpr std::int64_t kMostRows = 2000;

std::string Line(const std::string& id) {
  return absl::StrCat(R"({"custom_id":")", id, R"(","method":"POST","url":"/v1/score","body":{}})",
                      "\n");
}

class BatchRunTest : public ::testing::Test {
 protected:
  BatchRunTest() { Restart(); }

  void Restart() {
    run_.reset();
    store_.reset();
    store_ = BatchStore::Open({.dir = dir_.path() + "/b", .bytes = bytes_}, &clock_).value();
    if (!id_.empty()) Begin();
  }

  void Begin() {
    run_ = std::make_unique<BatchRun>(store_.get(), store_->MutableBatch(id_), kMaxLine, kMostRows);
  }

  void Make(const std::string& content) {
    const File file = test::AddFile(*store_, {.tenant = "ann"}, content, 0).value();
    id_ = store_
              ->AddBatch({.tenant = "ann",
                          .endpoint = "/v1/score",
                          .window = "1h",
                          .input = file.id,
                          .expires = store_->Now() + 3600})
              .value()
              .id;
    Begin();
  }

  // Until it waits for answers or has ended.
  void WorkOn() {
    while (run_->Work()) {
    }
  }

  // All rows that it has now.
  std::vector<Row> Rows() {
    WorkOn();
    std::vector<Row> rows;
    while (run_->has_rows()) {
      if (std::optional<Row> row = run_->NextRow()) rows.push_back(*std::move(row));
    }
    return rows;
  }

  std::string Output(const std::string& id) {
    return ReadFile(store_->DataPath(id), 100'000).value_or("none");
  }

  const test::TempDir dir_;
  ManualClock clock_;
  std::int64_t bytes_ = 1 << 20;
  std::unique_ptr<BatchStore> store_;
  std::string id_;
  std::unique_ptr<BatchRun> run_;
};

TEST_F(BatchRunTest, RowsAreAskedAnsweredAndKept) {
  Make(absl::StrCat(Line("a"), "\n", Line("b"), Line("c")));
  const std::vector<Row> rows = Rows();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1].line, 3);
  EXPECT_EQ(rows[0].body, R"({"priority":"low"})");
  EXPECT_EQ(run_->batch().state, BatchState::kInProgress);
  run_->Record(rows[1], {.status = 200, .body = R"({"x":1})"});
  run_->Record(rows[0], {.status = 404, .body = "{}"});
  WorkOn();
  EXPECT_FALSE(run_->has_ended());
  run_->Record(rows[2], {.status = 200, .body = "{}"});
  WorkOn();
  const Batch& batch = run_->batch();
  EXPECT_EQ(batch.state, BatchState::kCompleted);
  EXPECT_EQ(batch.total, 3);
  EXPECT_EQ(batch.completed, 2);
  EXPECT_EQ(batch.failed, 1);
  EXPECT_TRUE(batch.entered.contains(BatchState::kFinalizing));
  EXPECT_THAT(Output(batch.output), HasSubstr(R"("custom_id":"b")"));
  EXPECT_THAT(Output(batch.failures), HasSubstr(R"("status_code":404)"));
  EXPECT_TRUE(store_->FindFile("ann", batch.output).ok());
}

TEST_F(BatchRunTest, AfterARestartOnlyTheRestIsAsked) {
  Make(absl::StrCat(Line("a"), Line("b"), Line("c")));
  std::vector<Row> rows = Rows();
  run_->Record(rows[2], {.status = 200, .body = "{}"});
  run_->Record(rows[0], {.status = 500, .body = "{}"});
  Restart();
  rows = Rows();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].custom_id, "b");
  EXPECT_EQ(run_->batch().completed, 1);
  EXPECT_EQ(run_->batch().failed, 1);
  run_->Record(rows[0], {.status = 200, .body = "{}"});
  Restart();
  EXPECT_TRUE(Rows().empty());
  WorkOn();
  EXPECT_EQ(run_->batch().state, BatchState::kCompleted);
  EXPECT_EQ(run_->batch().completed, 2);
}

TEST_F(BatchRunTest, ARestartedBatchSaysAtOnceHowManyRowsAreDone) {
  bytes_ = std::int64_t{64} << 20;
  Restart();
  std::string content;
  for (int i = 0; i < 100; ++i) content += Line(absl::StrCat("r", i));
  Make(content);
  const std::vector<Row> rows = Rows();
  const std::string body = absl::StrCat("{\"text\":\"", std::string(100'000, 'x'), "\"}");
  for (std::size_t i = 0; i < 80; ++i) {
    run_->Record(rows[i], {.status = i % 4 == 0 ? 400 : 200, .body = body});
    run_->Sync();
  }
  // The record was written now and then: at the next start there are few bytes to look at.
  Restart();
  const Batch& batch = run_->batch();
  EXPECT_EQ(batch.completed, 60);
  EXPECT_EQ(batch.failed, 20);
  EXPECT_GT(batch.counted_output.answers, 20);
  EXPECT_GT(batch.counted_failures.bytes, 500'000);
  int slices = 0;
  for (; run_->Work(); ++slices) {
    ASSERT_EQ(batch.completed, 60) << "while they are read";
    ASSERT_EQ(batch.failed, 20);
  }
  EXPECT_GT(slices, 5);
  EXPECT_EQ(Rows().size(), 20u);
  EXPECT_EQ(batch.completed, 60);
}

TEST_F(BatchRunTest, ARecordThatSaysNothingOrTooMuchOfAnswersIsCountedAnew) {
  Make(absl::StrCat(Line("a"), Line("b"), Line("c")));
  const std::vector<Row> rows = Rows();
  run_->Record(rows[0], {.status = 200, .body = "{}"});
  run_->Record(rows[1], {.status = 200, .body = "{}"});
  Batch* const batch = store_->MutableBatch(id_);
  for (const CountedAnswers counted : {CountedAnswers(), CountedAnswers{1 << 20, 1000}}) {
    batch->counted_output = counted;
    ASSERT_TRUE(store_->SaveBatch(*batch).ok());
    const auto again = std::filesystem::path(dir_.path()) / "again";
    std::filesystem::remove_all(again);
    std::filesystem::copy(dir_.path() + "/b", again, std::filesystem::copy_options::recursive);
    const auto store = BatchStore::Open({.dir = again.string()}, &clock_).value();
    EXPECT_EQ(store->FindBatch("ann", id_).value()->completed, 2);
  }
}

TEST_F(BatchRunTest, ARowThatReturnsIsAskedAgain) {
  Make(Line("a"));
  std::vector<Row> rows = Rows();
  run_->Return(rows[0]);
  rows = Rows();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].custom_id, "a");
  EXPECT_EQ(rows[0].body, R"({"priority":"low"})");
  run_->Record(rows[0], {.status = 200, .body = "{}"});
  WorkOn();
  EXPECT_EQ(run_->batch().completed, 1);
}

TEST_F(BatchRunTest, FaultyLinesEndItBeforeItBegins) {
  Make(absl::StrCat(Line("a"), "{\n", Line("a"), std::string(kMaxLine, 'x'), "\n"));
  EXPECT_TRUE(Rows().empty());
  const Batch& batch = run_->batch();
  EXPECT_EQ(batch.state, BatchState::kFailed);
  ASSERT_EQ(batch.errors.size(), 3u);
  EXPECT_EQ(batch.errors[0].line, 2);
  EXPECT_EQ(batch.errors[1].code, "duplicate_custom_id");
  EXPECT_THAT(batch.errors[2].message, HasSubstr("expected at most 1000 in a line"));
}

TEST_F(BatchRunTest, NamesOnlySoManyFaults) {
  std::string content;
  for (int i = 0; i < 1000; ++i) content += "x\n";
  Make(content);
  WorkOn();
  EXPECT_EQ(run_->batch().errors.size(), kMaxErrors);
}

TEST_F(BatchRunTest, MoreRowsThanItTakesAreOneFault) {
  std::string content;
  for (std::int64_t i = 0; i <= kMostRows; ++i) content += Line(std::to_string(i));
  Make(content);
  WorkOn();
  EXPECT_EQ(run_->batch().state, BatchState::kFailed);
  EXPECT_EQ(run_->batch().errors.front().code, "too_many_rows");
}

TEST_F(BatchRunTest, CancelledItKeepsWhatItHas) {
  Make(absl::StrCat(Line("a"), Line("b")));
  const std::vector<Row> rows = Rows();
  run_->Record(rows[0], {.status = 200, .body = "{}"});
  run_->StopFor(BatchState::kCancelled);
  EXPECT_EQ(run_->batch().state, BatchState::kCancelling);
  EXPECT_FALSE(run_->Work());
  run_->Return(rows[1]);
  WorkOn();
  EXPECT_EQ(run_->batch().state, BatchState::kCancelled);
  EXPECT_TRUE(run_->batch().has_output);
  EXPECT_FALSE(run_->batch().has_failures);
}

TEST_F(BatchRunTest, CancellingGoesOnAfterARestart) {
  Make(Line("a"));
  Rows();
  run_->StopFor(BatchState::kCancelled);
  Restart();
  WorkOn();
  EXPECT_EQ(run_->batch().state, BatchState::kCancelled);
}

TEST_F(BatchRunTest, RowsThatCameTooLateSaySo) {
  Make(absl::StrCat(Line("a"), Line("b"), Line("c")));
  WorkOn();
  const Row first = run_->NextRow().value();
  const Row second = run_->NextRow().value();
  run_->Record(first, {.status = 200, .body = "{}"});
  clock_.Advance(std::chrono::hours(1));
  WorkOn();
  EXPECT_TRUE(run_->is_stopping());
  run_->Return(second);
  WorkOn();
  const Batch& batch = run_->batch();
  EXPECT_EQ(batch.state, BatchState::kExpired);
  EXPECT_EQ(batch.completed, 1);
  EXPECT_EQ(batch.failed, 2);
  EXPECT_THAT(Output(batch.failures), HasSubstr("not answered within 1h"));
}

TEST_F(BatchRunTest, ADiskThatFailsIsSaidToTheOperatorAlone) {
  Make(Line("a"));
  std::filesystem::remove(store_->DataPath(run_->batch().input));
  WorkOn();
  EXPECT_EQ(run_->batch().state, BatchState::kFailed);
  EXPECT_EQ(run_->batch().errors.front().code, "storage_error");
  EXPECT_THAT(run_->batch().errors.front().message, ::testing::Not(HasSubstr(dir_.path())));
  EXPECT_THAT(std::string(run_->problem().message()), HasSubstr(dir_.path()));
}

TEST_F(BatchRunTest, AnEndThatTheDiskDoesNotTakeComesAgainAfterARestart) {
  Make(Line("a"));
  const std::vector<Row> rows = Rows();
  run_->Record(rows[0], {.status = 200, .body = "{}"});
  const std::string output = run_->batch().output;
  const std::string blocks_file = absl::StrCat(dir_.path(), "/b/files/", output, ".new");
  const std::string blocks_batch = absl::StrCat(dir_.path(), "/b/batches/", id_, ".new");
  std::filesystem::create_directory(blocks_file);
  std::filesystem::create_directory(blocks_batch);
  WorkOn();
  EXPECT_EQ(run_->batch().state, BatchState::kCompleted);
  EXPECT_TRUE(run_->batch().has_output);
  EXPECT_TRUE(run_->batch().errors.empty());
  EXPECT_FALSE(run_->problem().ok());
  std::filesystem::remove(blocks_file);
  std::filesystem::remove(blocks_batch);
  Restart();
  EXPECT_TRUE(Rows().empty());
  WorkOn();
  EXPECT_EQ(run_->batch().state, BatchState::kCompleted);
  EXPECT_THAT(Output(output), HasSubstr(R"("custom_id":"a")"));
  EXPECT_TRUE(store_->FindFile("ann", output).ok());
}

TEST_F(BatchRunTest, OutputWithoutARecordDoesNotBelongToABatchThatEndedOnDisk) {
  Make(Line("a"));
  const std::vector<Row> rows = Rows();
  run_->Record(rows[0], {.status = 200, .body = "{}"});
  const std::string output = run_->batch().output;
  const std::string blocks = absl::StrCat(dir_.path(), "/b/files/", output, ".new");
  std::filesystem::create_directory(blocks);
  WorkOn();
  std::filesystem::remove(blocks);
  Restart();
  EXPECT_TRUE(Rows().empty());
  WorkOn();
  EXPECT_THAT(Output(output), HasSubstr(R"("custom_id":"a")"));
  EXPECT_TRUE(store_->FindFile("ann", output).ok());
}

TEST_F(BatchRunTest, WithoutRoomItFails) {
  bytes_ = 400;
  Restart();
  Make(absl::StrCat(Line("a"), Line("b")));
  const std::vector<Row> rows = Rows();
  run_->Record(rows[0], {.status = 200, .body = "{}"});
  run_->Record(rows[1], {.status = 200, .body = std::string(300, 'x')});
  WorkOn();
  EXPECT_EQ(run_->batch().state, BatchState::kFailed);
  EXPECT_EQ(run_->batch().errors.front().code, "no_room");
  EXPECT_TRUE(run_->batch().has_output);
}

}  // namespace
}  // namespace llava::batches
