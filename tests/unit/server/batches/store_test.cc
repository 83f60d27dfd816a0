#include "server/batches/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/durable_file.h"
#include "tests/support/batch_file.h"
#include "tests/support/temp_dir.h"

namespace llava::batches {
namespace {

using ::testing::HasSubstr;

class BatchStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<BatchStore> Open() {
    auto store = BatchStore::Open(options_, &clock_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  static File Named(const std::string& tenant) {
    return {.tenant = tenant, .name = "rows", .purpose = "batch"};
  }

  static Batch Of(const File& file) {
    return {.tenant = file.tenant, .endpoint = "/v1/score", .window = "24h", .input = file.id};
  }

  const test::TempDir dir_;
  ManualClock clock_;
  BatchStore::Options options_{
      .dir = dir_.path() + "/batches", .bytes = 100, .tenant_bytes = 60, .retention = 1000};
};

TEST_F(BatchStoreTest, WhatWasAddedIsThereAfterARestart) {
  auto store = Open();
  const File file = test::AddFile(*store, Named("ann"), "12345", 0).value();
  const Batch batch = store->AddBatch(Of(file)).value();
  store.reset();
  store = Open();
  EXPECT_EQ(store->FindFile("ann", file.id).value()->bytes, 5);
  EXPECT_EQ(store->FindBatch("ann", batch.id).value()->input, file.id);
  EXPECT_EQ(store->used_bytes(), 5);
  EXPECT_EQ(ReadFile(store->DataPath(file.id), 10).value(), "12345");
}

TEST_F(BatchStoreTest, OthersSeeNothing) {
  const auto store = Open();
  const File file = test::AddFile(*store, Named("ann"), "x", 0).value();
  const Batch batch = store->AddBatch(Of(file)).value();
  EXPECT_TRUE(absl::IsNotFound(store->FindFile("bob", file.id).status()));
  EXPECT_TRUE(absl::IsNotFound(store->FindBatch("bob", batch.id).status()));
  EXPECT_TRUE(absl::IsNotFound(store->DeleteFile("bob", file.id)));
  Batch stolen = Of(file);
  stolen.tenant = "bob";
  EXPECT_TRUE(absl::IsNotFound(store->AddBatch(stolen).status()));
}

TEST_F(BatchStoreTest, BytesAreBoundedForOneAndForAll) {
  const auto store = Open();
  ASSERT_TRUE(test::AddFile(*store, Named("ann"), std::string(60, 'x'), 0).ok());
  const auto more = test::AddFile(*store, Named("ann"), "x", 0);
  EXPECT_THAT(std::string(more.status().message()), HasSubstr("60 are kept, expected at most 60"));
  const File second = test::AddFile(*store, Named("bob"), std::string(30, 'x'), 0).value();
  EXPECT_FALSE(test::AddFile(*store, Named("eve"), std::string(11, 'x'), 0).ok());
  ASSERT_TRUE(store->DeleteFile("bob", second.id).ok());
  EXPECT_TRUE(test::AddFile(*store, Named("eve"), std::string(11, 'x'), 0).ok());
}

TEST_F(BatchStoreTest, WhatArrivesCountsAndIsNobodysYet) {
  auto store = Open();
  const std::string id = store->BeginFile("ann").value();
  ASSERT_TRUE(store->AppendFile(id, std::string(40, 'x')).ok());
  EXPECT_EQ(store->used_bytes(), 40);
  EXPECT_TRUE(absl::IsNotFound(store->FindFile("ann", id).status()));
  EXPECT_FALSE(test::AddFile(*store, Named("ann"), std::string(21, 'x')).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(store->AppendFile(id, std::string(21, 'x'))));
  ASSERT_TRUE(store->AppendFile(id, std::string(20, 'y')).ok());
  const File file = store->EndFile(id, Named("ann"), 0).value();
  EXPECT_EQ(file.bytes, 60);
  EXPECT_EQ(*ReadFile(store->DataPath(id), 100), std::string(40, 'x') + std::string(20, 'y'));
  store->DropFile(id);  // it has ended
  EXPECT_TRUE(store->FindFile("ann", id).ok());
  EXPECT_EQ(store->used_bytes(), 60);
}

TEST_F(BatchStoreTest, OfAFileThatDidNotArriveNothingStays) {
  auto store = Open();
  const std::string dropped = store->BeginFile("ann").value();
  ASSERT_TRUE(store->AppendFile(dropped, std::string(60, 'x')).ok());
  store->DropFile(dropped);
  EXPECT_EQ(store->used_bytes(), 0);
  EXPECT_FALSE(IsThere(store->DataPath(dropped)));
  const std::string lost = store->BeginFile("ann").value();
  ASSERT_TRUE(store->AppendFile(lost, std::string(60, 'x')).ok());
  store.reset();  // killed
  store = Open();
  EXPECT_EQ(store->used_bytes(), 0);
  EXPECT_FALSE(IsThere(store->DataPath(lost)));
}

TEST_F(BatchStoreTest, WhatABatchWritesCounts) {
  const auto store = Open();
  const File file = test::AddFile(*store, Named("ann"), std::string(50, 'x'), 0).value();
  const Batch batch = store->AddBatch(Of(file)).value();
  EXPECT_TRUE(store->Grow(batch, batch.output, 10).ok());
  EXPECT_FALSE(store->Grow(batch, batch.output, 1).ok());
  EXPECT_EQ(store->used_bytes(), 60);
  ASSERT_TRUE(WriteFile(store->DataPath(batch.output), "0123456789").ok());
  EXPECT_TRUE(store->KeepGrown(batch, batch.output, "out").value());
  EXPECT_FALSE(store->KeepGrown(batch, batch.failures, "none").value());
  EXPECT_EQ(store->used_bytes(), 60);
  EXPECT_EQ(store->FindFile("ann", batch.output).value()->name, "out");
}

TEST_F(BatchStoreTest, WhatWasKeptBeforeACrashCountsOnceAndMayHaveGrown) {
  auto store = Open();
  const File file = test::AddFile(*store, Named("ann"), "x", 0).value();
  const Batch batch = store->AddBatch(Of(file)).value();
  ASSERT_TRUE(WriteFile(store->DataPath(batch.output), "0123456789").ok());
  EXPECT_TRUE(store->KeepGrown(batch, batch.output, "out").value());
  store.reset();
  store = Open();  // the batch's record does not say that it has ended
  store->SetGrown(batch, batch.output, 10);
  ASSERT_TRUE(store->Grow(batch, batch.output, 2).ok());
  ASSERT_TRUE(WriteFile(store->DataPath(batch.output), "0123456789ab").ok());
  EXPECT_TRUE(store->KeepGrown(batch, batch.output, "out").value());
  EXPECT_EQ(store->FindFile("ann", batch.output).value()->bytes, 12);
  EXPECT_EQ(store->used_bytes(), 13);
}

TEST_F(BatchStoreTest, AnInputStaysWhileItIsRead) {
  const auto store = Open();
  const File file = test::AddFile(*store, Named("ann"), "x", 0).value();
  const Batch batch = store->AddBatch(Of(file)).value();
  EXPECT_TRUE(absl::IsInvalidArgument(store->DeleteFile("ann", file.id)));
  clock_.Advance(std::chrono::seconds(2000));
  store->RemoveExpired();
  EXPECT_TRUE(store->FindFile("ann", file.id).ok());
  Batch& ended = *store->MutableBatch(batch.id);
  ended.state = BatchState::kCompleted;
  ended.entered[BatchState::kCompleted] = store->Now();
  store->RemoveExpired();
  EXPECT_FALSE(store->FindFile("ann", file.id).ok());
  EXPECT_TRUE(store->FindBatch("ann", batch.id).ok());
  clock_.Advance(std::chrono::seconds(1000));
  store->RemoveExpired();
  EXPECT_FALSE(store->FindBatch("ann", batch.id).ok());
  EXPECT_EQ(store->used_bytes(), 0);
}

TEST_F(BatchStoreTest, ALifetimeOfItsOwnIsKept) {
  const auto store = Open();
  const File file = test::AddFile(*store, Named("ann"), "x", 100).value();
  EXPECT_EQ(file.expires - file.created, 100);
}

TEST_F(BatchStoreTest, WhatACrashLeftIsRemoved) {
  auto store = Open();
  const std::string stray = store->DataPath("file-stray");
  const std::string half = options_.dir + "/batches/batch_x.new";
  ASSERT_TRUE(WriteFile(stray, "x").ok());
  ASSERT_TRUE(WriteFile(half, "{").ok());
  const File file = test::AddFile(*store, Named("ann"), "x", 0).value();
  const Batch batch = store->AddBatch(Of(file)).value();
  ASSERT_TRUE(WriteFile(store->DataPath(batch.output), "grown").ok());
  store.reset();
  store = Open();
  EXPECT_FALSE(std::filesystem::exists(stray));
  EXPECT_FALSE(std::filesystem::exists(half));
  EXPECT_TRUE(std::filesystem::exists(store->DataPath(batch.output)));
  EXPECT_EQ(store->used_bytes(), 6);
}

TEST_F(BatchStoreTest, ASecondOneDoesNotOpenIt) {
  const auto store = Open();
  EXPECT_TRUE(absl::IsUnavailable(BatchStore::Open(options_, &clock_).status()));
}

TEST_F(BatchStoreTest, ADamagedRecordIsNamed) {
  auto store = Open();
  store.reset();
  ASSERT_TRUE(WriteFile(options_.dir + "/files/file-x.json", "{}").ok());
  const auto opened = BatchStore::Open(options_, &clock_);
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("files/file-x.json"));
}

}  // namespace
}  // namespace llava::batches
