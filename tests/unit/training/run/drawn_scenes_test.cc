#include "training/run/drawn_scenes.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

class DrawnScenesTest : public ::testing::Test {
 protected:
  static std::string Read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::string Draw(scenes::Split split = scenes::Split::kTrain) {
    const auto folder = DrawScenes(dir_.path(), wanted_, split, 8);
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.ok() ? *folder : "";
  }

  test::TempDir dir_;
  ScenesOptions wanted_{.count = 3, .seed = 5, .level = "one", .turns = 2, .comparisons = 1};
};

TEST_F(DrawnScenesTest, DrawsWhatIsAskedForIntoAFolderNamedAfterIt) {
  const std::string folder = Draw();
  EXPECT_EQ(folder, dir_.path() + "/scenes/one-3-2-1-5");
  EXPECT_TRUE(fs::exists(folder + "/images/000002.jpg"));
  EXPECT_FALSE(fs::exists(folder + "/images/000003.jpg"));
  EXPECT_TRUE(fs::exists(folder + "/patches.json"));
  EXPECT_FALSE(fs::exists(folder + ".unfinished"));
}

TEST_F(DrawnScenesTest, WhatAnEarlierRunDrewIsKept) {
  const std::string folder = Draw();
  std::ofstream(folder + "/mine") << "x";
  EXPECT_EQ(Draw(), folder);
  EXPECT_TRUE(fs::exists(folder + "/mine"));
}

TEST_F(DrawnScenesTest, OtherWishesAreOtherScenes) {
  const std::string train = Read(Draw() + "/scenes.jsonl");
  EXPECT_NE(Read(Draw(scenes::Split::kHeldOut) + "/scenes.jsonl"), train);
  EXPECT_TRUE(fs::exists(dir_.path() + "/scenes/held-out-one-3-2-1-5"));
  wanted_.seed = 6;
  EXPECT_NE(Read(Draw() + "/scenes.jsonl"), train);
  wanted_ = {.count = 3, .seed = 5, .level = "one", .turns = 1, .comparisons = 0};
  EXPECT_NE(Draw(), dir_.path() + "/scenes/one-3-2-1-5");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_.path() + "/scenes"), {}), 4);
}

// A run that was killed while it drew begins anew.
TEST_F(DrawnScenesTest, WhatWasNotFinishedIsDrawnAgain) {
  fs::create_directories(dir_.path() + "/scenes/one-3-2-1-5.unfinished");
  std::ofstream(dir_.path() + "/scenes/one-3-2-1-5.unfinished/half") << "x";
  const std::string folder = Draw();
  EXPECT_FALSE(fs::exists(folder + "/half"));
  EXPECT_TRUE(fs::exists(folder + "/instruct.jsonl"));
}

TEST_F(DrawnScenesTest, AFolderThatCannotBeMadeIsAnError) {
  std::ofstream(dir_.path() + "/scenes") << "a file";
  EXPECT_FALSE(DrawScenes(dir_.path(), wanted_, scenes::Split::kTrain, 8).ok());
}

}  // namespace
}  // namespace llava::training
