#include "model/config/checkpoint_name.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

constexpr char kCommit[] = "a272c74b2481d8aff3aa6fc2c4bf891fe57334fb";

class CheckpointNameTest : public testing::Test {
 protected:
  std::string Make(const std::string& folder) const {
    const std::string path = dir_.path() + "/" + folder;
    std::filesystem::create_directories(path);
    return path;
  }
  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }

  test::TempDir dir_;
};

TEST_F(CheckpointNameTest, AFolderIsCalledByItsName) {
  const std::string folder = Make("llava-1.5-7b-hf");
  EXPECT_EQ(CheckpointName(folder), "llava-1.5-7b-hf");
  EXPECT_EQ(CheckpointName(folder + "/"), "llava-1.5-7b-hf");
  EXPECT_EQ(CheckpointName(folder + "/."), "llava-1.5-7b-hf");
  EXPECT_EQ(CheckpointName("/"), "llava");
}

TEST_F(CheckpointNameTest, TheManifestCountsThenTheConfig) {
  const std::string folder = Make("checkpoint");
  Write(folder + "/config.json", R"({"name": "from-config"})");
  EXPECT_EQ(CheckpointName(folder), "from-config");
  Write(folder + "/manifest.json", R"({"name": "from-manifest"})");
  EXPECT_EQ(CheckpointName(folder), "from-manifest");
  Write(folder + "/manifest.json", R"({"name": 7})");  // its reader's complaint
  EXPECT_EQ(CheckpointName(folder), "from-config");
}

TEST_F(CheckpointNameTest, ASnapshotOfTheHubIsNotCalledByItsCommit) {
  const std::string cached =
      Make(absl::StrCat("models--llava-hf--llava-1.5-7b-hf/snapshots/", kCommit));
  EXPECT_EQ(CheckpointName(cached), "llava-1.5-7b-hf");
  EXPECT_EQ(CheckpointName(Make("models--gpt2/snapshots/main")), "gpt2");
  const std::string copied = Make(kCommit);
  EXPECT_EQ(CheckpointName(copied), kCommit);
  Write(copied + "/config.json", R"({"_name_or_path": "llava-hf/llava-1.5-13b-hf/"})");
  EXPECT_EQ(CheckpointName(copied), "llava-1.5-13b-hf");
  const std::string short_one = Make("cafe");  // a name, although all of it is hexadecimal
  Write(short_one + "/config.json", R"({"_name_or_path": "llava-hf/llava-1.5-13b-hf"})");
  EXPECT_EQ(CheckpointName(short_one), "cafe");
}

TEST_F(CheckpointNameTest, WhatNamesMayNotHaveIsReplaced) {
  EXPECT_EQ(CheckpointName(Make("llava@v2")), "llava-v2");
  EXPECT_EQ(CheckpointName(Make("models--org--eyes@2/snapshots/main")), "eyes-2");
  const std::string folder = Make("checkpoint");
  Write(folder + "/config.json", R"({"name": "my\nmodel@home"})");
  EXPECT_EQ(CheckpointName(folder), "my-model-home");
  EXPECT_EQ(FittingName("a b/c:d"), "a b/c:d");
  EXPECT_EQ(FittingName("a\xff"), "a\xEF\xBF\xBD");
  EXPECT_EQ(FittingName(std::string(200, 'x')), std::string(128, 'x'));
  EXPECT_EQ(FittingName("x" + std::string(127, 'y') + "\xC3\xA9"), "x" + std::string(127, 'y'));
  EXPECT_EQ(FittingName(absl::StrCat(std::string(127, 'x'), "\xC3\xA9")), std::string(127, 'x'));
}

}  // namespace
}  // namespace llava::model
