#include "training/assemble/parts_config.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/training/assemble/parts_folders.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

VocabularyPlan Plan(int first, int turn_end = -1) {
  return {.image_id = first,
          .pad_id = first + 1,
          .pad = "<pad>",
          .added = {"<image>", "<pad>"},
          .first_added = first,
          .tokens = first + 2,
          .turn_end_id = turn_end};
}

boost::json::object Json(const PartsConfig& parts) {
  return boost::json::parse(parts.json).as_object();
}

TEST(PartsConfigTest, KeepsWhatThePartsSay) {
  const PartsFolders folders;
  const auto parts = JoinConfigs(folders.Options().parts, Plan(kPieces));
  ASSERT_TRUE(parts.ok()) << parts.status();
  const auto golden = model::ReadConfig(kGolden);
  ASSERT_TRUE(golden.ok()) << golden.status();
  EXPECT_EQ(parts->config.text, golden->text);
  EXPECT_EQ(parts->config.vision, golden->vision);
  EXPECT_EQ(parts->config.projector, golden->projector);
  EXPECT_EQ(parts->config.feature_layers, golden->feature_layers);
  EXPECT_EQ(parts->config.image_token_id, kPieces);
  EXPECT_EQ(parts->config.pad_token_id, kPieces + 1);
  EXPECT_EQ(parts->language_rows, kPieces);
  const auto original = ReadJsonObject(folders.language + "/config.json");
  const boost::json::object text = Json(*parts).at("text_config").as_object();
  for (const auto& [key, value] : *original) {
    if (key == "vocab_size" || key == "pad_token_id" || key == "architectures") continue;
    EXPECT_EQ(text.at(key), value) << key;
  }
  EXPECT_FALSE(text.contains("architectures"));
}

TEST(PartsConfigTest, ATableThatHasRoomKeepsItsSize) {
  const PartsFolders folders;
  const auto parts = JoinConfigs(folders.Options().parts, Plan(kPieces - 2));
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->config.text.vocab_size, kPieces);
}

TEST(PartsConfigTest, AnswersEndWhereTurnsOfChatmlEnd) {
  const PartsFolders folders;
  const auto parts = JoinConfigs(folders.Options().parts, Plan(kPieces, 7));
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_THAT(parts->config.text.eos_token_ids, testing::ElementsAre(2, 7));
}

TEST(PartsConfigTest, OptionsOfTheFeatures) {
  const PartsFolders folders;
  PartsOptions options = folders.Options().parts;
  options.feature_layer = -1;
  options.select = model::SelectStrategy::kKeepClassToken;
  options.linear_projector = true;
  const auto parts = JoinConfigs(options, Plan(kPieces));
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_THAT(parts->config.feature_layers, testing::ElementsAre(-1));
  EXPECT_EQ(parts->config.select, model::SelectStrategy::kKeepClassToken);
  EXPECT_EQ(parts->config.projector.depth, 1);
  EXPECT_EQ(parts->config.tile_tokens(), Json(*parts).at("image_seq_length").as_int64());
}

TEST(PartsConfigTest, AFamilyWithTilesHasThoseOfItsReleasedModels) {
  const PartsFolders folders;
  PartsOptions options = folders.Options().parts;
  options.architecture = model::Architecture::kLlavaNext;
  const auto next = JoinConfigs(options, Plan(kPieces));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->config.architecture, model::Architecture::kLlavaNext);
  const int side = next->config.vision.image_size;
  EXPECT_THAT(
      next->config.anyres.pinpoints,
      testing::ElementsAre(model::Resolution{side, 2 * side}, model::Resolution{2 * side, side},
                           model::Resolution{2 * side, 2 * side}, model::Resolution{3 * side, side},
                           model::Resolution{side, 3 * side}));
  EXPECT_EQ(Json(*next).at("architectures").at(0), "LlavaNextForConditionalGeneration");
  options.architecture = model::Architecture::kOnevision;
  const auto onevision = JoinConfigs(options, Plan(kPieces));
  ASSERT_TRUE(onevision.ok()) << onevision.status();
  EXPECT_EQ(onevision->config.anyres.pinpoints.size(), 36u);
  EXPECT_EQ(onevision->config.anyres.max_tiles, 9);
}

TEST(PartsConfigTest, WhatDoesNotFitIsNamed) {
  const PartsFolders folders;
  PartsOptions options = folders.Options().parts;
  options.vision_tower = folders.language;
  EXPECT_THAT(JoinConfigs(options, Plan(kPieces)).status().message(),
              HasSubstr(folders.language + "/config.json: model_type"));
  options = folders.Options().parts;
  options.language_model = folders.tower;
  EXPECT_THAT(JoinConfigs(options, Plan(kPieces)).status().message(),
              HasSubstr(folders.tower + "/config.json: model_type"));
  options = folders.Options().parts;
  options.feature_layer = -9;
  EXPECT_THAT(JoinConfigs(options, Plan(kPieces)).status().message(),
              HasSubstr("vision_feature_layer"));
}

}  // namespace
}  // namespace llava::training
