#include "training/data/picture_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PictureRecordTest : public ::testing::Test {
 protected:
  std::string Picture(const std::string& name, const std::string& bytes) const {
    std::ofstream(dir_.path() + "/" + name, std::ios::binary) << bytes;
    return dir_.path() + "/" + name;
  }

  std::shared_ptr<PictureRecord> Open(int rank = 0, bool accept = false) const {
    auto record = PictureRecord::Open(dir_.path() + "/record", rank, accept);
    EXPECT_TRUE(record.ok()) << record.status();
    return *record;
  }

  test::TempDir dir_;
};

TEST_F(PictureRecordTest, APictureStaysWhatItWas) {
  const auto record = Open();
  const std::string a = Picture("a.png", "one");
  EXPECT_TRUE(record->Check(a, "one").ok());
  EXPECT_TRUE(record->Check(a, "one").ok());
  const absl::Status status = record->Check(a, "two");
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(status.message()), HasSubstr(a));
}

TEST_F(PictureRecordTest, OutlivesTheProcessAndIsSharedByRanks) {
  const std::string a = Picture("a.png", "one");
  const std::string b = Picture("b.png", "two");
  const auto first = Open(0);
  const auto second = Open(1);
  ASSERT_TRUE(first->Check(a, "one").ok());
  ASSERT_TRUE(second->Check(b, "two").ok());
  ASSERT_TRUE(first->Save().ok());
  ASSERT_TRUE(second->Save().ok());
  const auto later = Open();
  EXPECT_EQ(later->Check(a, "other").code(), absl::StatusCode::kAborted);
  EXPECT_EQ(later->Check(b, "other").code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(later->Check(a, "one").ok());
}

TEST_F(PictureRecordTest, NamesWhatHasChangedOrGone) {
  const std::string a = Picture("a.png", "one");
  const std::string b = Picture("b.png", "two");
  const std::string c = Picture("c.png", "three");
  const auto record = Open();
  for (const auto& [path, bytes] : {std::pair(a, "one"), {b, "two"}, {c, "three"}}) {
    ASSERT_TRUE(record->Check(path, bytes).ok());
  }
  EXPECT_THAT(record->Changes(10), IsEmpty());
  Picture("a.png", "1");
  std::filesystem::remove(b);
  Picture("c.png", "three");  // written again, the same
  EXPECT_THAT(record->Changes(10), ElementsAre(HasSubstr(a + ": SHA-256 was"), HasSubstr(b)));
  EXPECT_EQ(record->Changes(1).size(), 1u);
}

// As `cp -p`, `rsync -t` and `tar` leave it.
TEST_F(PictureRecordTest, NamesAPictureOfTheSameSizeAndTimeOfWriting) {
  const std::string a = Picture("a.png", "one");
  const std::string b = Picture("b.png", "two");
  {
    const auto record = Open();
    ASSERT_TRUE(record->Check(a, "one").ok());
    ASSERT_TRUE(record->Check(b, "two").ok());
    ASSERT_TRUE(record->Save().ok());
  }
  for (const auto& [path, bytes] : {std::pair(a, "eno"), {b, "two"}}) {
    const auto written = std::filesystem::last_write_time(path);
    std::ofstream(path + ".new") << bytes;
    std::filesystem::last_write_time(path + ".new", written);
    std::filesystem::rename(path + ".new", path);
  }
  const auto record = Open();
  EXPECT_THAT(record->Changes(10), ElementsAre(HasSubstr(a + ": SHA-256 was")));
  ASSERT_TRUE(record->Save().ok());  // and the other one is known as it is now
  std::ifstream lines(dir_.path() + "/record/rank-0.jsonl");
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(lines), {}, '\n'), 3);
}

TEST_F(PictureRecordTest, AnAcceptedChangeIsRecorded) {
  const std::string a = Picture("a.png", "one");
  ASSERT_TRUE(Open()->Check(a, "one").ok());
  {
    const auto record = Open();
    ASSERT_TRUE(record->Check(a, "one").ok());
    ASSERT_TRUE(record->Save().ok());
  }
  {
    const auto accepting = Open(0, true);
    ASSERT_TRUE(accepting->Check(a, "two").ok());
    ASSERT_TRUE(accepting->Save().ok());
  }
  EXPECT_TRUE(Open()->Check(a, "two").ok());
}

TEST_F(PictureRecordTest, ALineThatWasNotFinishedIsCutOff) {
  const std::string a = Picture("a.png", "one");
  {
    const auto record = Open();
    ASSERT_TRUE(record->Check(a, "one").ok());
    ASSERT_TRUE(record->Save().ok());
  }
  std::ofstream(dir_.path() + "/record/rank-0.jsonl", std::ios::app) << "{\"path\": \"/b";
  const std::string c = Picture("c.png", "three");
  {
    const auto record = Open();
    ASSERT_TRUE(record->Check(c, "three").ok());
    ASSERT_TRUE(record->Save().ok());
  }
  const auto record = Open();
  EXPECT_FALSE(record->Check(a, "x").ok());
  EXPECT_FALSE(record->Check(c, "x").ok());
}

TEST_F(PictureRecordTest, SaysWhatIsNoRecord) {
  std::filesystem::create_directory(dir_.path() + "/record");
  std::ofstream(dir_.path() + "/record/rank-0.jsonl") << "{}\n";
  EXPECT_EQ(PictureRecord::Open(dir_.path() + "/record", 0, false).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace llava::training
