#include "training/publish/recorded_scores.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "training/publish/publish.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

class RecordedScoresTest : public ::testing::Test {
 protected:
  // A version that has scored `total` in the exam of `data`.
  PublishedVersion Version(double total, const std::string& parent = "",
                           const std::string& data = "d") {
    model::Manifest manifest;
    manifest.parent = parent;
    manifest.evaluations = {{"rows", data, "exact", 5, {{"total", total}}}};
    const auto write = [total](const std::string& dir) {
      std::ofstream(dir + "/model.safetensors") << total;
      return absl::OkStatus();
    };
    RealFiles files;
    const auto published = Publish(dir_.path() + "/models", manifest, write, files);
    EXPECT_TRUE(published.ok()) << published.status();
    return *published;
  }
  static std::string NameOf(const PublishedVersion& version) {
    return fs::path(version.dir).filename().string();
  }

  test::TempDir dir_;
  const model::Evaluation exam_ = {"rows", "d", "exact", 0, {}};
};

TEST_F(RecordedScoresTest, AreThoseOfTheParentAndOfTheBestOther) {
  const PublishedVersion parent = Version(0.5);
  const PublishedVersion best = Version(0.9);
  Version(0.7);
  Version(1.0, "", "other data");
  const PublishedVersion own = Version(0.95, parent.version);
  const auto beside = ScoresBeside(own.dir, exam_);
  ASSERT_EQ(beside.size(), 2u);
  EXPECT_EQ(beside[0].name, "its parent " + NameOf(parent));
  EXPECT_EQ(beside[0].scores.at("total"), 0.5);
  EXPECT_EQ(beside[1].name, "the best other " + NameOf(best));
  // By the link that names it, too.
  EXPECT_EQ(ScoresBeside(dir_.path() + "/models/latest", exam_).size(), 2u);
}

TEST_F(RecordedScoresTest, TheBestIsNotNamedTwice) {
  const PublishedVersion parent = Version(0.9);
  Version(0.5);
  EXPECT_EQ(ScoresBeside(Version(0.95, parent.version).dir, exam_).size(), 1u);
}

TEST_F(RecordedScoresTest, OfAnotherJudgeOrNoVersionAreNone) {
  const PublishedVersion parent = Version(0.5);
  const PublishedVersion own = Version(0.6, parent.version);
  EXPECT_TRUE(ScoresBeside(own.dir, {"rows", "d", "somebody", 0, {}}).empty());
  fs::create_directory(dir_.path() + "/loose");
  EXPECT_TRUE(ScoresBeside(dir_.path() + "/loose", exam_).empty());
  EXPECT_TRUE(ScoresBeside("", exam_).empty());
}

}  // namespace
}  // namespace llava::training
