#include "training/data/captured_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "capture/open_shard.h"
#include "capture/shard.h"
#include "capture/trainings.h"
#include "capture/verdicts.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"
#include "training/data/instruction_dataset.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CapturedRowsTest : public ::testing::Test {
 protected:
  // One row about a picture, which somebody liked, and one that nobody said anything about.
  void Write(const std::string& name, const std::string& picture) const {
    auto shard = capture::OpenShard::Create(dir(), name).value();
    ASSERT_TRUE(
        shard->Append(test::CapturedPicture("ann", "a", picture), {Sha256Of(picture)}).ok());
    ASSERT_TRUE(shard->Append(test::CapturedRow("ann", "b"), {}).ok());
    ASSERT_TRUE(shard->Close().ok());
    const capture::Verdicts verdicts = {{0, {.thumb = capture::Thumb::kUp}}};
    ASSERT_TRUE(capture::WriteVerdicts(verdicts, capture::ShardFolder(dir(), name)).ok());
  }

  std::string dir() const { return temp_.path() + "/capture"; }
  std::string folder() const { return temp_.path() + "/taken"; }

  std::vector<capture::Training> Trainings() const { return *capture::ReadTrainings(dir()); }

  const test::TempDir temp_;
};

TEST_F(CapturedRowsTest, AreRowsThatCanBeTrainedOn) {
  Write("1700000000000", "cat");
  Write("1700000000001", "cat");
  const auto choices = TakeCaptured("/run", {{dir(), {.up = true}, folder()}});
  ASSERT_TRUE(choices.ok()) << choices.status();
  EXPECT_THAT(ToText(choices->at(0)), HasSubstr("2 of 4 captured rows: 2 with a thumb up"));
  DatasetOptions options;
  options.images_dir = CapturedPictures(folder());
  const auto rows = InstructionDataset::Open({CapturedRowsFile(folder())}, options);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->size(), 2);
  EXPECT_EQ(rows->bad_rows(), 0);
  const Row row = *rows->Read(0);
  EXPECT_EQ(row.turns[0].text, "<image>\nWhat is it?");
  EXPECT_EQ(*ReadFile(options.images_dir + "/" + row.images[0], 10), "cat");
  EXPECT_EQ(rows->digests()[0], *DigestOfCaptured(dir(), {.up = true}));
  const auto shards = ReadTakenShards(folder());
  ASSERT_TRUE(shards.ok()) << shards.status();
  ASSERT_EQ(shards->size(), 2u);
  EXPECT_EQ(shards->at(1).name, "1700000000001");
  EXPECT_EQ(shards->at(1).rows, 1);
  EXPECT_EQ(shards->at(1).sha256, choices->at(0).shards[1].sha256);
}

TEST_F(CapturedRowsTest, StayWhenTheirShardsGo) {
  Write("1700000000000", "cat");
  ASSERT_TRUE(TakeCaptured("/run", {{dir(), {.up = true}, folder()}}).ok());
  ASSERT_TRUE(capture::DeleteShard(dir(), "1700000000000").ok());
  const std::string name = Sha256Of("cat").Hex();
  EXPECT_EQ(*ReadFile(CapturedPictures(folder()) + "/" + name, 10), "cat");
}

TEST_F(CapturedRowsTest, AShardOfWhichNothingIsTakenIsGivenBack) {
  Write("1700000000000", "cat");
  ASSERT_TRUE(TakeCaptured("/a", {{dir(), {.corrected = true}, folder()}}).ok());
  EXPECT_THAT(Trainings().at(0).shards, IsEmpty());
  ASSERT_TRUE(TakeCaptured("/a", {{dir(), {.up = true}, folder()}}).ok());
  EXPECT_THAT(Trainings().at(0).shards, ElementsAre("1700000000000"));
}

TEST_F(CapturedRowsTest, WhatARunHasPublishedIsNotForgottenWhenItBeginsAgain) {
  Write("1700000000000", "cat");
  ASSERT_TRUE(TakeCaptured("/a", {{dir(), {.up = true}, folder()}}).ok());
  ASSERT_TRUE(capture::AddVersion("/a", "v1", dir()).ok());
  Write("1700000000001", "dog");
  ASSERT_TRUE(TakeCaptured("/a", {{dir(), {.corrected = true}, folder()}}).ok());
  EXPECT_THAT(Trainings().at(0).versions, ElementsAre("v1"));
  EXPECT_THAT(Trainings().at(0).shards, ElementsAre("1700000000000"));
}

TEST_F(CapturedRowsTest, WithoutARunNothingIsWrittenDown) {
  Write("1700000000000", "cat");
  ASSERT_TRUE(TakeCaptured("", {{dir(), {.up = true}, folder()}}).ok());
  EXPECT_THAT(Trainings(), IsEmpty());
}

TEST_F(CapturedRowsTest, AFolderOfSomethingElseIsNamed) {
  const absl::Status status = TakeCaptured("/a", {{temp_.path(), {}, folder()}}).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(status.message(), AllOf(HasSubstr(temp_.path()), HasSubstr("capture_dir")));
  EXPECT_TRUE(absl::IsNotFound(DigestOfCaptured(temp_.path(), {}).status()));
}

}  // namespace
}  // namespace llava::training
