#include "training/data/scenes/write.h"

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/file.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "training/data/dense_labels.h"
#include "training/data/instruction_dataset.h"
#include "training/data/scenes/questions.h"
#include "training/data/scenes/scene.h"

namespace llava::training::scenes {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;

TEST(WriteTest, WritesWhatTheDatasetReadsAndTheSameBytesAgain) {
  test::TempDir dir;
  const WriteOptions options{.count = 20, .seed = 4};
  ASSERT_TRUE(WriteScenes(options, dir.path() + "/a").ok());
  ASSERT_TRUE(WriteScenes(options, dir.path() + "/b").ok());
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir.path() + "/a")) {
    if (!entry.is_regular_file()) continue;
    const auto relative = std::filesystem::relative(entry.path(), dir.path() + "/a");
    EXPECT_EQ(ReadFile(entry.path(), kMaxBytes).value(),
              ReadFile(dir.path() + "/b/" + relative.string(), kMaxBytes).value())
        << relative;
    ++files;
  }
  EXPECT_EQ(files, 26);
  DatasetOptions dataset;
  dataset.images_dir = dir.path() + "/a/images";
  dataset.on_bad_row = OnBadRow::kStop;
  for (const char* name : {"instruct.jsonl", "captions.jsonl"}) {
    const auto data = InstructionDataset::Open({dir.path() + "/a/" + name}, dataset);
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(data->size(), 20);
  }
  const auto labels = ReadDenseLabels(dir.path() + "/a");
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_EQ(labels->images.size(), 20u);
  EXPECT_EQ(labels->rows, 12);
  EXPECT_EQ(labels->labels.size(), 20u * 5 * 144);
}

TEST(WriteTest, WhatStandsInItsFiles) {
  test::TempDir dir;
  const WriteOptions options{.count = 5, .seed = 4, .turns = 3};
  ASSERT_TRUE(WriteScenes(options, dir.path()).ok());
  const std::string corpus = ReadFile(dir.path() + "/corpus.txt", kMaxBytes).value();
  std::ifstream instruct(dir.path() + "/instruct.jsonl");
  std::ifstream scenes(dir.path() + "/scenes.jsonl");
  std::string line;
  for (std::int64_t i = 0; i < options.count; ++i) {
    const Scene scene = MakeScene(options.seed, options.split, options.level, i);
    EXPECT_NE(corpus.find(Caption(scene) + "\n"), corpus.npos) << i;
    ASSERT_TRUE(std::getline(instruct, line));
    const auto turns = boost::json::parse(line).at("conversations").as_array();
    for (std::size_t turn = 0; turn < turns.size(); ++turn) {
      const std::string text(turns[turn].at("value").as_string());
      EXPECT_EQ(text.starts_with("<image>\n"), turn == 0) << text;
    }
    ASSERT_TRUE(std::getline(scenes, line));
    const boost::json::value row = boost::json::parse(line);
    for (const auto& object : row.at("objects").as_array()) {
      for (const auto& side : object.at("box").as_array()) {
        EXPECT_GE(side.to_number<double>(), 0.0);
        EXPECT_LE(side.to_number<double>(), 1.0);
      }
    }
  }
}

// Rows that training takes, with as many pictures as they show.
TEST(WriteTest, WritesConversations) {
  test::TempDir dir;
  WriteOptions options{.count = 60, .seed = 4, .level = Level::kFree, .turns = 8};
  options.conversations = true;
  ASSERT_TRUE(WriteScenes(options, dir.path()).ok());
  DatasetOptions dataset;
  dataset.images_dir = dir.path() + "/images";
  dataset.on_bad_row = OnBadRow::kStop;
  const auto data = InstructionDataset::Open({dir.path() + "/instruct.jsonl"}, dataset);
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->size(), 60);
  int two = 0, wrong = 0;
  for (std::int64_t i = 0; i < data->size(); ++i) {
    const auto row = data->Read(i);
    ASSERT_TRUE(row.ok()) << row.status();
    EXPECT_GE(row->turns.size(), 4u);
    EXPECT_LE(row->turns.size(), 16u);
    EXPECT_TRUE(row->turns.back().is_learned);
    two += row->images.size() == 2 ? 1 : 0;
    for (const Turn& turn : row->turns) wrong += turn.is_learned ? 0 : 1;
  }
  EXPECT_GT(two, 5);
  EXPECT_GT(wrong, 5);
}

TEST(WriteTest, RefusesWhatItCannotDo) {
  test::TempDir dir;
  EXPECT_EQ(WriteScenes({.count = 0}, dir.path()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteScenes({.count = 1, .turns = 0}, dir.path()).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteScenes({.count = 1, .patch = 7}, dir.path()).code(),
            absl::StatusCode::kInvalidArgument);
  WriteOptions one_turn{.count = 1, .turns = 1};
  one_turn.conversations = true;
  EXPECT_EQ(WriteScenes(one_turn, dir.path()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteScenes({.count = 1}, "/proc/none").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace llava::training::scenes
