#include "training/generate/sources.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"

namespace llava::training {
namespace {

TEST(Sources, CocoBoxesAreSharesWithThreeDecimals) {
  test::BenchFolder folder;
  folder.Add("captions.json", R"({
    "images": [{"id": 7, "file_name": "7.jpg", "width": 200, "height": 100},
               {"id": 8, "file_name": "8.jpg", "width": 10, "height": 10}],
    "annotations": [{"image_id": 7, "caption": "A dog. "}, {"image_id": 7, "caption": "One."}]})");
  folder.Add("instances.json", R"({
    "categories": [{"id": 3, "name": "dog"}],
    "annotations": [{"image_id": 7, "category_id": 3, "bbox": [20.02, 0, 180, 33.33]}]})");
  GenerateSource source;
  source.captions = folder.path() + "/captions.json";
  source.instances = folder.path() + "/instances.json";
  const auto pictures = ReadSource(source, folder.path());
  ASSERT_TRUE(pictures.ok()) << pictures.status();
  ASSERT_EQ(pictures->size(), 1u);  // the other one has no caption
  EXPECT_EQ((*pictures)[0].id, "000000000007");
  EXPECT_EQ(CaptionText((*pictures)[0]), "A dog.\nOne.");
  EXPECT_EQ(BoxText((*pictures)[0]), "dog: [0.1, 0.0, 1.0, 0.333]");
  folder.Add("captions.json", "{\"images\": 1}");
  EXPECT_THAT(std::string(ReadSource(source, folder.path()).status().message()),
              testing::HasSubstr("captions.json: images: expected a list"));
}

TEST(Sources, ScenesAreDrawnOnce) {
  test::BenchFolder folder;
  GenerateSource source;
  source.scenes = 3;
  const auto pictures = ReadSource(source, folder.path());
  ASSERT_TRUE(pictures.ok()) << pictures.status();
  ASSERT_EQ(pictures->size(), 3u);
  EXPECT_FALSE((*pictures)[0].boxes.empty());
  EXPECT_TRUE(std::filesystem::exists(folder.path() + "/scenes/images/" + (*pictures)[2].image));
  EXPECT_EQ(BoxText((*ReadSource(source, folder.path()))[1]), BoxText((*pictures)[1]));
  source.scenes = 4;  // of which three are there
  EXPECT_TRUE(absl::IsFailedPrecondition(ReadSource(source, folder.path()).status()));
}

TEST(Sources, ScenesThatWereDrawnInPartAreDrawnAnew) {
  test::BenchFolder folder;
  std::filesystem::create_directories(folder.path() + "/scenes.new/images");
  folder.Add("scenes.new/scenes.jsonl", "{\"image\": \"0000");
  GenerateSource source;
  source.scenes = 3;
  const auto pictures = ReadSource(source, folder.path());
  ASSERT_TRUE(pictures.ok()) << pictures.status();
  EXPECT_EQ(pictures->size(), 3u);
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/scenes.new"));
}

TEST(Sources, PicturesOfAFolderComeByName) {
  test::BenchFolder folder;
  GenerateSource source;
  source.pictures = folder.path();
  EXPECT_THAT(std::string(ReadSource(source, "").status().message()),
              testing::HasSubstr("has no picture, expected files"));
  std::filesystem::create_directory(folder.path() + "/more");
  folder.Add("more/b.PNG", "x");
  folder.Add("a.jpeg", "x");
  folder.Add("notes.txt", "x");
  const auto pictures = ReadSource(source, "");
  ASSERT_TRUE(pictures.ok()) << pictures.status();
  ASSERT_EQ(pictures->size(), 2u);
  EXPECT_EQ((*pictures)[0].image, "a.jpeg");
  EXPECT_EQ((*pictures)[1].image, "more/b.PNG");
  source.pictures = folder.path() + "/lost";
  EXPECT_TRUE(absl::IsNotFound(ReadSource(source, "").status()));
}

TEST(Sources, ContextsAreLines) {
  test::BenchFolder folder;
  folder.Add("c.jsonl", "{\"image\": \"1.jpg\", \"captions\": [\"x\"]}\n\n{\"image\": 1}\n");
  GenerateSource source;
  source.contexts = folder.path() + "/c.jsonl";
  EXPECT_FALSE(ReadSource(source, "").ok());
  folder.Add("c.jsonl", "{\"image\": \"1.jpg\", \"captions\": [\"x\"]}\n");
  EXPECT_EQ(ReadSource(source, "")->size(), 1u);
}

}  // namespace
}  // namespace llava::training
