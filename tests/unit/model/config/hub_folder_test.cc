#include "model/config/hub_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/config/checkpoint_name.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;

constexpr char kOld[] = "a272c74b2481d8aff3aa6fc2c4bf891fe57334fb";
constexpr char kNew[] = "b234b804b114d9e37bb655e11cbbb5f5e971b7a9";

class HubFolderTest : public testing::Test {
 protected:
  HubFolderTest() : folder_(dir_.path() + "/models--llava-hf--llava-1.5-7b-hf") {
    std::filesystem::create_directories(folder_ + "/refs");
    std::filesystem::create_directories(folder_ + "/snapshots");
  }
  void AddSnapshot(const std::string& commit) const {
    std::filesystem::create_directories(folder_ + "/snapshots/" + commit);
  }
  void SetMain(const std::string& text) const { std::ofstream(folder_ + "/refs/main") << text; }
  std::string ErrorOf() const { return std::string(SnapshotOf(folder_).status().message()); }

  const test::TempDir dir_;
  const std::string folder_;
};

TEST_F(HubFolderTest, ARepositoryStandsForTheSnapshotOfItsMain) {
  AddSnapshot(kOld);
  AddSnapshot(kNew);
  SetMain(absl::StrCat(kNew, "\n"));
  EXPECT_EQ(*SnapshotOf(folder_), absl::StrCat(folder_, "/snapshots/", kNew));
  EXPECT_EQ(*SnapshotOf(folder_ + "/"), absl::StrCat(folder_, "/snapshots/", kNew));
  EXPECT_EQ(CheckpointName(folder_), "llava-1.5-7b-hf");
  std::string given = folder_;
  EXPECT_EQ(TakeSnapshot(given), "");
  EXPECT_EQ(given, absl::StrCat(folder_, "/snapshots/", kNew));
}

TEST_F(HubFolderTest, ARepositoryIsKnownByEachWayToIt) {
  AddSnapshot(kNew);
  SetMain(kNew);
  const std::string link = dir_.path() + "/model";
  std::filesystem::create_directory_symlink(folder_, link);
  for (const std::string& path : {link, link + "/", folder_ + "/.", folder_ + "/refs/.."}) {
    EXPECT_TRUE(std::filesystem::equivalent(*SnapshotOf(path), folder_ + "/snapshots/" + kNew))
        << path;
    EXPECT_EQ(CheckpointName(path), "llava-1.5-7b-hf") << path;
  }
}

TEST_F(HubFolderTest, WithoutARefTheOnlySnapshotIsMeant) {
  AddSnapshot(kOld);
  EXPECT_EQ(*SnapshotOf(folder_), absl::StrCat(folder_, "/snapshots/", kOld));
  AddSnapshot(kNew);
  EXPECT_TRUE(absl::IsFailedPrecondition(SnapshotOf(folder_).status()));
  EXPECT_THAT(ErrorOf(), HasSubstr(absl::StrCat("without refs/main, expected the folder of one of "
                                                "its snapshots: ",
                                                kOld, ", ", kNew)));
}

TEST_F(HubFolderTest, ASnapshotThatWasNotFetchedIsNamed) {
  SetMain(kNew);
  EXPECT_THAT(ErrorOf(), HasSubstr("has no snapshot: fetch one"));
  AddSnapshot(kOld);
  EXPECT_THAT(ErrorOf(), HasSubstr(absl::StrCat("whose refs/main is '", kNew,
                                                "', which is not there, expected the folder of one "
                                                "of its snapshots: ",
                                                kOld)));
  for (const char* odd : {"", "../..", ".", "a/b"}) {
    SetMain(odd);
    EXPECT_THAT(ErrorOf(), HasSubstr("which is not there")) << odd;
  }
  std::string given = folder_;
  EXPECT_THAT(TakeSnapshot(given), HasSubstr("which is not there"));
  EXPECT_EQ(given, folder_);
}

TEST_F(HubFolderTest, AnyOtherPathIsItself) {
  AddSnapshot(kOld);
  const std::string nowhere = dir_.path() + "/nowhere";
  for (const std::string& path : {dir_.path(), nowhere, folder_ + "/snapshots/" + kOld,
                                  dir_.path() + "/models--without--snapshots", std::string()}) {
    EXPECT_EQ(*SnapshotOf(path), path);
  }
}

}  // namespace
}  // namespace llava::model
