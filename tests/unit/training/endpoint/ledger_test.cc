#include "training/endpoint/ledger.h"

#include <fstream>

#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

LedgerEntry Entry(const std::string& asked, const std::string& status, const std::string& text) {
  LedgerEntry entry;
  entry.key = Sha256Of(asked);
  entry.status = status;
  entry.reply.text = text;
  entry.reply.prompt_tokens = 10;
  entry.reply.completion_tokens = 2;
  entry.cost = 0.5;
  return entry;
}

TEST(Ledger, AnswersAndCostsOutliveTheProcess) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/ledger.jsonl";
  {
    auto ledger = Ledger::Open(path);
    ASSERT_TRUE(ledger.ok()) << ledger.status();
    ASSERT_TRUE(ledger->Append(Entry("one", "ok", "yes\nno \xc3\xa4")).ok());
    ASSERT_TRUE(ledger->Append(Entry("two", "is no JSON", "")).ok());
    EXPECT_TRUE(absl::IsUnavailable(Ledger::Open(path).status()));  // one process at a time
  }
  const auto again = Ledger::Open(path);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_NE(again->Find(Sha256Of("one")), nullptr);
  EXPECT_EQ(again->Find(Sha256Of("one"))->text, "yes\nno \xc3\xa4");
  EXPECT_EQ(again->Find(Sha256Of("two")), nullptr);
  EXPECT_EQ(again->spent().total(), 24);
}

TEST(Ledger, WhatWasInFlightWhenTheProcessWasKilledCountsAsPaid) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/ledger.jsonl";
  {
    auto ledger = Ledger::Open(path);
    ASSERT_TRUE(ledger->Begin(Sha256Of("one"), {100, 50}, 1).ok());
    ASSERT_TRUE(ledger->Begin(Sha256Of("two"), {1000, 500}, 10).ok());
    ASSERT_TRUE(ledger->Append(Entry("one", "ok", "yes")).ok());
    EXPECT_EQ(ledger->spent().total(), 12);  // the other may still end
  }
  {
    auto again = Ledger::Open(path);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->spent().total(), 12 + 1500);
    EXPECT_DOUBLE_EQ(again->cost(), 0.5 + 10);
    ASSERT_TRUE(again->Begin(Sha256Of("two"), {1000, 500}, 10).ok());  // and killed again
  }
  {
    auto again = Ledger::Open(path);
    EXPECT_EQ(again->spent().total(), 12 + 2 * 1500);
    EXPECT_EQ(again->Find(Sha256Of("two")), nullptr);
    ASSERT_TRUE(again->Begin(Sha256Of("two"), {1000, 500}, 10).ok());
    ASSERT_TRUE(again->Append(Entry("two", "ok", "no")).ok());
  }
  const auto last = Ledger::Open(path);
  EXPECT_EQ(last->spent().total(), 12 + 2 * 1500 + 12);
  EXPECT_DOUBLE_EQ(last->cost(), 0.5 + 2 * 10 + 0.5);
  EXPECT_NE(last->Find(Sha256Of("two")), nullptr);
}

TEST(Ledger, ATornLineIsCutOffAndAForeignOneIsNamed) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/ledger.jsonl";
  ASSERT_TRUE(Ledger::Open(path)->Append(Entry("one", "ok", "yes")).ok());
  std::ofstream(path, std::ios::app) << R"({"key":"12)";
  {
    auto torn = Ledger::Open(path);
    ASSERT_TRUE(torn.ok()) << torn.status();
    EXPECT_EQ(torn->spent().total(), 12);
    ASSERT_TRUE(torn->Append(Entry("two", "ok", "no")).ok());
  }
  EXPECT_EQ(Ledger::Open(path)->spent().total(), 24);
  std::ofstream(path, std::ios::app) << "{\"key\":\"xyz\"}\n";
  const absl::Status status = Ledger::Open(path).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_NE(status.message().find(":3"), std::string::npos) << status;
}

}  // namespace
}  // namespace llava::training
