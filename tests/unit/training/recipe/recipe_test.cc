#include "training/recipe/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr char kGood[] = R"(name: small
output: runs/small
seed: 7
precision: bf16
model: {checkpoint: base}
data:
  files: [rows.json]
  images: /pictures
save: {every_steps: 10, keep: 3}
stages:
  - name: align
    train: [projector]
    steps: 20
    batch: 8
    micro_batch: 3
    rate: 1.0e-3
    warmup_ratio: 0.03
  - name: tune
    train: [projector, decoder]
    data: {template: plain, max_length: 64}
    epochs: 2
    batch: 4
    rate: 2.0e-5
    projector_rate: 1.0e-5
    schedule: linear
)";

class RecipeTest : public ::testing::Test {
 protected:
  absl::StatusOr<Recipe> Read(const std::string& text) {
    const std::string file = folder_ + "/recipe.yaml";
    std::ofstream(file) << text;
    return ReadRecipe(file);
  }

  // The good recipe with the first `from` replaced.
  std::string Changed(const std::string& from, const std::string& to) {
    std::string text = kGood;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  }

  void ExpectError(const std::string& text, const std::string& message) {
    const auto recipe = Read(text);
    ASSERT_FALSE(recipe.ok()) << text;
    EXPECT_EQ(recipe.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(recipe.status().message()), HasSubstr("recipe.yaml:" + message));
  }

  const test::TempDir temporary_;
  const std::string folder_ = temporary_.path();
};

TEST_F(RecipeTest, ReadsEverything) {
  const auto recipe = Read(kGood);
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_EQ(recipe->seed, 7u);
  EXPECT_EQ(recipe->precision, Precision::kBfloat16);
  EXPECT_EQ(recipe->model.checkpoint, std::filesystem::path(folder_) / "base");
  EXPECT_EQ(recipe->save_every, 10);
  ASSERT_EQ(recipe->stages.size(), 2u);
  EXPECT_TRUE(recipe->stages[0].train_projector);
  EXPECT_FALSE(recipe->stages[0].train_decoder);
  EXPECT_EQ(recipe->stages[0].data.images, "/pictures");
  EXPECT_EQ(recipe->stages[0].data.chat_template, "v1");
  EXPECT_EQ(recipe->stages[1].data.chat_template, "plain");
  EXPECT_EQ(recipe->stages[1].data.images, "/pictures");
  EXPECT_EQ(recipe->stages[1].schedule.kind, ScheduleKind::kLinear);
  EXPECT_EQ(recipe->stages[1].projector_rate, 1e-5);
}

TEST_F(RecipeTest, MistakesNameLineAndKey) {
  ExpectError(Changed("seed: 7", "sead: 7"), "3: sead: unknown key; did you mean seed?");
  ExpectError(Changed("seed: 7", "seed: many"), "3: seed: is 'many', expected a whole number");
  ExpectError(Changed("seed: 7", "name: again"), "3: name: comes twice");
  ExpectError(Changed("bf16", "fp8"), "4: precision: is 'fp8', expected one of: fp32, bf16");
  ExpectError(Changed("bf16", "bf16\ndevice: gpu"),
              "5: device: is 'gpu', expected one of: cpu, cuda");
  ExpectError(Changed("batch: 8", "batch: 0"), "14: stages[0].batch: is 0, expected at least 1");
  ExpectError(Changed("batch: 8", "batch: 9223372036854775807"),
              "14: stages[0].batch: is 9223372036854775807, expected at most 1000000");
  ExpectError(Changed("epochs: 2", "epochs: 9000000000000000000"), "21: stages[1].epochs: is 9000");
  ExpectError(Changed("seed: 7", "keep_published: 4294967296"), "3: keep_published: is 4294967296");
  ExpectError(Changed("output: runs/small", "output: ~/run"),
              "2: output: is '~/run', expected a path");
  ExpectError(Changed("output: runs/small", "output: ''"), "2: output: is '', expected a folder");
  ExpectError(Changed("batch: 8", "batches: 8"), "11: stages[0].batch: is missing");
  ExpectError(Changed("[projector]", "[projektor]"), "12: stages[0].train: names 'projektor'");
  ExpectError(Changed("[projector]", "projector"), "12: stages[0].train: is 'projector', expected");
  ExpectError(Changed("rate: 1.0e-3", "rate: -1"), "16: stages[0].rate: is -1");
  ExpectError(Changed("rate: 1.0e-3", "rate: .nan"), "16: stages[0].rate: is nan");
  ExpectError(Changed("  - name: align\n    train", "  - align\n  - train"), "11: stages[0]: is");
  ExpectError(Changed("{checkpoint: base}", "{}"), "5: model.checkpoint: expected exactly one");
  ExpectError(Changed("    epochs: 2\n", ""), "18: stages[1].steps: expected exactly one");
  ExpectError(Changed("name: small", "name: [small"), "");
  ExpectError("- 1\n", "1: is a list, expected a mapping");
}

TEST_F(RecipeTest, TheEndsOfARangeAreInIt) {
  for (const char* ends :
       {"warmup_ratio: 0.0\n    rate_floor: 0.0", "warmup_ratio: 1.0\n    rate_floor: 1.0"}) {
    const auto recipe = Read(Changed("warmup_ratio: 0.03", ends));
    EXPECT_TRUE(recipe.ok()) << recipe.status();
  }
  ExpectError(Changed("warmup_ratio: 0.03", "warmup_ratio: 1.01"),
              "17: stages[0].warmup_ratio: is 1.01, expected 0 to 1");
}

TEST_F(RecipeTest, OneOfTwoAndNotBoth) {
  ExpectError(Changed("{checkpoint: base}", "{checkpoint: base, from_scratch: config}"),
              "5: model.checkpoint: expected exactly one");
  ExpectError(Changed("    epochs: 2\n", "    epochs: 2\n    steps: 5\n"),
              "22: stages[1].steps: expected exactly one");
  ExpectError(Changed("save: ", "evaluate: {file: a.json, scenes: {count: 2}}\nsave: "),
              "9: evaluate.file: expected exactly one");
  ExpectError(Changed("  images: /pictures", "  scenes: {count: 2}"),
              "8: data.scenes: takes the place of files");
  ExpectError(Changed("  images: /pictures", "  scenes: {count: 2, level: huge}"),
              "8: data.scenes.level: is 'huge', expected one, few, full, crowded, free, "
              "free_crowded, mixed, mixed_crowded");
  const char* one_turn = "  scenes: {count: 2, turns: 1, conversations: true}";
  ExpectError(Changed("  images: /pictures", one_turn),
              "8: data.scenes.turns: is 1, expected 2 or more of a conversation");
  ExpectError(Changed("    train: [projector]\n",
                      "    train: [vision_tower, projector]\n    objective: patch_labels\n"),
              "12: stages[0].train: patch_labels trains the vision_tower and nothing else");
}

TEST_F(RecipeTest, ReadsHowAStageIsValidated) {
  const auto recipe = Read(Changed("    steps: 20\n",
                                   "    steps: 20\n    validate: {rows: 50, every_steps: 5, "
                                   "samples: 2, patience: 3, keep: last}\n"));
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  const ValidateOptions& validate = recipe->stages[0].validate;
  EXPECT_TRUE(validate.wanted());
  EXPECT_EQ(validate.rows, 50);
  EXPECT_EQ(validate.every, 5);
  EXPECT_EQ(validate.samples, 2);
  EXPECT_EQ(validate.patience, 3);
  EXPECT_FALSE(validate.keep_best);
  EXPECT_FALSE(recipe->stages[1].validate.wanted());
  const auto validated = [&](const std::string& section) {
    return Changed("    steps: 20\n", "    steps: 20\n    validate: " + section + "\n");
  };
  const auto file = Read(validated("{file: held-out.json, images: others, every_steps: 5}"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->stages[0].validate.file, folder_ + "/held-out.json");
  EXPECT_EQ(file->stages[0].validate.images, folder_ + "/others");
  EXPECT_TRUE(file->stages[0].validate.keep_best);
  ExpectError(validated("{share: 0.1}"), "14: stages[0].validate.every_steps: is missing");
  ExpectError(validated("{every_steps: 5}"), "14: stages[0].validate.share: expected exactly one");
  ExpectError(validated("{share: 0.1, rows: 3, every_steps: 5}"),
              "14: stages[0].validate.share: expected exactly one");
  ExpectError(validated("{share: 1.5, every_steps: 5}"), "14: stages[0].validate.share: is 1.5");
  ExpectError(validated("{rows: 5, images: x, every_steps: 5}"),
              "14: stages[0].validate.images: goes with file");
}

TEST_F(RecipeTest, ShardedWeightsWantLayersThatAreRecomputed) {
  const auto sharded = [&](const std::string& section) {
    std::string text = Changed("stages:\n", "distributed: " + section + "\nstages:\n");
    for (std::size_t at = 0; (at = text.find("    train: [", at)) != text.npos; at += 40) {
      text.insert(at, "    gradient_checkpointing: true\n");
    }
    return text;
  };
  const auto recipe = Read(sharded("{shard: true, shard_weights: true}"));
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_TRUE(recipe->shard_weights);
  ExpectError(sharded("{shard_weights: true}"),
              "10: distributed.shard_weights: is true, expected shard: true beside it");
  ExpectError(Changed("stages:\n", "distributed: {shard: true, shard_weights: true}\nstages:\n"),
              "10: distributed: shard_weights is true, expected gradient_checkpointing: true in "
              "stage 'align'");
}

TEST_F(RecipeTest, FilesMayBeWeighed) {
  const auto recipe = Read(Changed(
      "  files: [rows.json]\n", "  mixture: [{file: new.json}, {file: /old.json, weight: 0.2}]\n"));
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  const DataOptions& data = recipe->stages[1].data;
  EXPECT_EQ(data.files, (std::vector<std::string>{folder_ + "/new.json", "/old.json"}));
  EXPECT_EQ(data.weights, (std::vector<double>{1.0, 0.2}));
  const auto own = Read(Changed("{template: plain", "{files: [own.json], template: plain"));
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_TRUE(own->stages[1].data.weights.empty());
  ExpectError(
      Changed("  files: [rows.json]\n", "  files: [rows.json]\n  mixture: [{file: new.json}]\n"),
      "8: data.mixture: takes the place of files");
  ExpectError(Changed("  files: [rows.json]\n", "  mixture: []\n"), "7: data.mixture: is empty");
  EXPECT_TRUE(
      Read(Changed("  files: [rows.json]\n", "  mixture: []\n  captured: {dir: /captured}\n"))
          .ok());
  ExpectError(Changed("  files: [rows.json]\n", "  mixture: [{file: a.json, weight: 0}]\n"),
              "7: data.mixture[0].weight: is 0");
}

TEST_F(RecipeTest, APatternStandsForItsShards) {
  const auto recipe =
      Read(Changed("  files: [rows.json]\n", "  files: [\"s-{08..10}.tar\", r.json]\n"));
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_EQ(recipe->stages[1].data.files,
            (std::vector<std::string>{folder_ + "/s-08.tar", folder_ + "/s-09.tar",
                                      folder_ + "/s-10.tar", folder_ + "/r.json"}));
  const auto weighed =
      Read(Changed("  files: [rows.json]\n",
                   "  mixture: [{file: \"{1..2}.tar\", weight: 0.5}, {file: r.json}]\n"));
  ASSERT_TRUE(weighed.ok()) << weighed.status();
  EXPECT_EQ(weighed->stages[1].data.files.size(), 3u);
  EXPECT_EQ(weighed->stages[1].data.weights, (std::vector<double>{0.5, 0.5, 1.0}));
  ExpectError(Changed("  files: [rows.json]\n", "  files: [\"{2..1}.tar\"]\n"),
              "7: data.files: " + folder_ + "/{2..1}.tar: ends before it begins");
}

TEST_F(RecipeTest, CapturedTurnsAreASourceBesideFilesOrAlone) {
  const std::string beside = "  files: [rows.json]\n  captured: {dir: turns, weight: 0.5}\n";
  const auto recipe = Read(Changed("  files: [rows.json]\n", beside));
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  const CapturedOptions& captured = recipe->stages[1].data.captured;
  EXPECT_EQ(captured.dir, folder_ + "/turns");
  EXPECT_EQ(captured.weight, 0.5);
  EXPECT_TRUE(captured.up && captured.corrected && !captured.unrated);
  const auto alone =
      Read(Changed("  files: [rows.json]\n", "  captured: {dir: /turns, verdicts: [unrated]}\n"));
  ASSERT_TRUE(alone.ok()) << alone.status();
  const CapturedOptions& unrated = alone->stages[0].data.captured;
  EXPECT_TRUE(!unrated.up && !unrated.corrected && unrated.unrated);
  EXPECT_TRUE(alone->stages[0].data.files.empty());
  ExpectError(Changed("  files: [rows.json]\n", "  captured: {dir: a, verdicts: [down]}\n"),
              "7: data.captured.verdicts: names 'down', expected up, corrected, unrated");
  ExpectError(Changed("  files: [rows.json]\n", "  captured: {verdicts: [up]}\n"),
              "7: data.captured.dir: is missing");
  ExpectError(Changed("  files: [rows.json]\n", "  captured: {dir: a}\n  scenes: {count: 1}\n"),
              "8: data.scenes: takes the place of files");
}

TEST_F(RecipeTest, AStageSaysHowPicturesAreMadeSquare) {
  EXPECT_EQ(Read(kGood)->stages[0].data.aspect, PictureAspect::kOfModel);
  const auto pads = Read(Changed("{template: plain", "{aspect: pad, template: plain"));
  ASSERT_TRUE(pads.ok()) << pads.status();
  EXPECT_EQ(pads->stages[0].data.aspect, PictureAspect::kOfModel);
  EXPECT_EQ(pads->stages[1].data.aspect, PictureAspect::kPad);
}

TEST_F(RecipeTest, AStagesFilesTakeThePlaceOfTheRecipes) {
  const auto recipe =
      Read(Changed("{template: plain", "{files: [a.json, b.json], template: plain"));
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_EQ(recipe->stages[0].data.files, std::vector<std::string>{folder_ + "/rows.json"});
  EXPECT_EQ(recipe->stages[1].data.files,
            (std::vector<std::string>{folder_ + "/a.json", folder_ + "/b.json"}));
}

TEST_F(RecipeTest, WhatABadRowDoes) {
  EXPECT_FALSE(Read(kGood)->stages[0].data.stop_on_bad_row);
  const auto stops = Read(Changed("  images: /pictures", "  on_bad_row: stop"));
  ASSERT_TRUE(stops.ok()) << stops.status();
  EXPECT_TRUE(stops->stages[0].data.stop_on_bad_row);
  EXPECT_FALSE(
      Read(Changed("  images: /pictures", "  on_bad_row: skip"))->stages[0].data.stop_on_bad_row);
}

TEST_F(RecipeTest, VersionsArePublishedBelowTheOutputUnlessElsewhere) {
  EXPECT_EQ(Read(kGood)->publish, folder_ + "/runs/small/published");
  EXPECT_EQ(Read(Changed("seed: 7", "publish: models"))->publish, folder_ + "/models");
}

TEST_F(RecipeTest, ALaterStageMayChangeWithoutTouchingEarlierOnes) {
  const auto one = Read(kGood);
  const auto other = Read(Changed("epochs: 2", "epochs: 3"));
  const auto moved = Read(Changed("seed: 7", "seed: 8"));
  ASSERT_TRUE(one.ok() && other.ok() && moved.ok());
  EXPECT_EQ(RecipeDigest(*one, 0), "");
  EXPECT_EQ(RecipeDigest(*one, 1), RecipeDigest(*other, 1));
  EXPECT_NE(RecipeDigest(*one, 2), RecipeDigest(*other, 2));
  EXPECT_NE(RecipeDigest(*one, 1), RecipeDigest(*moved, 1));
}

// The published hyper-parameters, see arXiv 2304.08485, 2310.03744 and the original code's scripts.
TEST_F(RecipeTest, ThePublishedRecipesAreRight) {
  const std::string folder = "training/recipes/";
  const auto v1 = ReadRecipe(folder + "llava-v1.yaml");
  const auto v15 = ReadRecipe(folder + "llava-v1.5.yaml");
  ASSERT_TRUE(v1.ok()) << v1.status();
  ASSERT_TRUE(v15.ok()) << v15.status();
  const auto expect = [](const StageOptions& stage, std::int64_t batch, double rate,
                         std::int64_t epochs, bool decoder) {
    EXPECT_EQ(stage.batch, batch);
    EXPECT_EQ(stage.rate, rate);
    EXPECT_EQ(stage.epochs, epochs);
    EXPECT_TRUE(stage.train_projector);
    EXPECT_EQ(stage.train_decoder, decoder);
    EXPECT_FALSE(stage.train_vision_tower);
    EXPECT_EQ(stage.weight_decay, 0.0);
    EXPECT_EQ(stage.schedule.kind, ScheduleKind::kCosine);
    EXPECT_EQ(stage.schedule.warmup_ratio, 0.03);
    EXPECT_EQ(stage.clip_norm, 1.0);
    EXPECT_EQ(stage.beta2, 0.999);
    EXPECT_EQ(stage.data.max_length, 2048);
    EXPECT_EQ(stage.data.chat_template, decoder ? "v1" : "plain");
  };
  expect(v1->stages[0], 128, 2e-3, 1, false);
  expect(v1->stages[1], 32, 2e-5, 3, true);
  expect(v15->stages[0], 256, 1e-3, 1, false);
  expect(v15->stages[1], 128, 2e-5, 1, true);
  const auto lora = ReadRecipe(folder + "llava-v1.5-lora.yaml");
  ASSERT_TRUE(lora.ok()) << lora.status();
  expect(lora->stages[0], 256, 1e-3, 1, false);
  expect(lora->stages[1], 128, 2e-4, 1, true);
  EXPECT_EQ(lora->stages[1].projector_rate, 2e-5);
  EXPECT_EQ(lora->stages[1].lora.rank, 128);
  EXPECT_EQ(lora->stages[1].lora.alpha, 256);
  EXPECT_EQ(lora->stages[1].lora.dropout, 0.05);
  EXPECT_EQ(lora->stages[1].lora.targets.size(), 7u);
}

// See github.com/LLaVA-VL/LLaVA-NeXT and arXiv 2408.03326.
TEST_F(RecipeTest, TheRecipesOfModelsWithTilesAreRight) {
  const std::string folder = "training/recipes/";
  const auto next = ReadRecipe(folder + "llava-v1.6.yaml");
  const auto onevision = ReadRecipe(folder + "llava-onevision.yaml");
  ASSERT_TRUE(next.ok()) << next.status();
  ASSERT_TRUE(onevision.ok()) << onevision.status();
  const auto expect = [](const StageOptions& stage, std::int64_t batch, double rate,
                         const std::string& chat_template) {
    const bool first = chat_template == "plain";
    EXPECT_EQ(stage.batch, batch) << stage.name;
    EXPECT_EQ(stage.rate, rate) << stage.name;
    EXPECT_EQ(stage.epochs, 1) << stage.name;
    EXPECT_TRUE(stage.train_projector) << stage.name;
    EXPECT_EQ(stage.train_decoder, !first) << stage.name;
    EXPECT_EQ(stage.train_vision_tower, !first) << stage.name;
    EXPECT_EQ(stage.vision_tower_rate, first ? 0.0 : 2e-6) << stage.name;
    EXPECT_EQ(stage.data.aspect, first ? PictureAspect::kCrop : PictureAspect::kOfModel);
    EXPECT_EQ(stage.data.chat_template, chat_template) << stage.name;
    EXPECT_EQ(stage.data.group_by_length, !first) << stage.name;
    EXPECT_EQ(stage.schedule.warmup_ratio, 0.03) << stage.name;
    EXPECT_FALSE(stage.data.files.empty()) << stage.name;
  };
  ASSERT_EQ(next->stages.size(), 2u);
  expect(next->stages[0], 256, 1e-3, "plain");
  expect(next->stages[1], 128, 2e-5, "v1");
  EXPECT_EQ(next->stages[1].data.max_length, 4096);
  ASSERT_EQ(onevision->stages.size(), 4u);
  expect(onevision->stages[0], 512, 1e-3, "plain");
  for (std::size_t i = 1; i < 4; ++i) {
    expect(onevision->stages[i], 256, 1e-5, "chatml");
    EXPECT_EQ(onevision->stages[i].data.max_length, 32768);
  }
}

TEST_F(RecipeTest, CodesAreTheBaseOfAdaptersAlone) {
  const std::string int4 = "checkpoint: base, weights: int4", lora = ", lora: {r: 8}";
  const std::string projector =
      "  - {name: last, train: [projector], steps: 1, batch: 1, rate: 1}\n";
  const auto recipe = [](const std::string& model, const std::string& train) {
    return "name: q\noutput: run\ndata: {files: [a.json]}\nmodel: {" + model +
           "}\nstages:\n  - {name: tune, steps: 1, batch: 1, rate: 1, train: " + train + "}\n";
  };
  const auto refusal = [&](const std::string& text) {
    return std::string(Read(text).status().message());
  };
  EXPECT_EQ(Read(recipe(int4, "[decoder]" + lora))->model.weights, BaseWeights::kInt4);
  EXPECT_EQ(Read(recipe(int4, "[projector]"))->model.weights, BaseWeights::kInt4);
  EXPECT_EQ(Read(recipe("checkpoint: base", "[decoder]"))->model.weights, BaseWeights::kNumbers);
  EXPECT_THAT(refusal(recipe("checkpoint: base, weights: int3", "[projector]")),
              HasSubstr("model.weights"));
  EXPECT_THAT(refusal(recipe("from_scratch: base, weights: int8", "[projector]")),
              HasSubstr("model.checkpoint beside"));
  EXPECT_THAT(refusal(recipe(int4, "[decoder]" + lora) + "device: cuda\n"),
              HasSubstr("expected device: cpu"));
  EXPECT_THAT(refusal(recipe(int4, "[decoder]")), HasSubstr("stage 'tune'"));
  EXPECT_THAT(refusal(recipe(int4, "[decoder], lora: {r: 8, use_dora: true}")),
              HasSubstr("without use_dora"));
  EXPECT_THAT(refusal(recipe(int4, "[decoder]" + lora) + projector),
              HasSubstr("to be the last one"));
}

TEST_F(RecipeTest, LoraIsReadStrictly) {
  const auto with = [&](const std::string& lora) {
    return Changed("    schedule: linear\n", "    lora: " + lora + "\n");
  };
  const auto good = Read(with("{r: 8, targets: [q_proj, v_proj]}"));
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->stages[1].lora.rank, 8);
  EXPECT_EQ(good->stages[1].lora.targets, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(good->stages[0].lora.rank, 0);
  EXPECT_FALSE(good->stages[1].lora.use_dora);
  EXPECT_TRUE(Read(with("{r: 8, use_dora: true}"))->stages[1].lora.use_dora);
  ExpectError(with("{r: 8, use_dora: 3}"), "25: stages[1].lora.use_dora: ");
  ExpectError(with("{alpha: 8}"), "25: stages[1].lora.r: is missing");
  ExpectError(with("{r: 0}"), "25: stages[1].lora.r: is 0, expected at least 1");
  ExpectError(with("{r: 8, dropout: 1.5}"), "25: stages[1].lora.dropout: is 1.5");
  ExpectError(with("{r: 8, targets: [lm_head]}"), "25: stages[1].lora.targets: names 'lm_head'");
  ExpectError(Changed("    steps: 20\n", "    steps: 20\n    lora: {r: 8}\n"),
              "14: stages[0].lora: adapts the decoder");
}

std::string ReadAll(const std::string& file) {
  std::ifstream in(file);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

TEST_F(RecipeTest, TheGuideNamesEveryKey) {
  const std::string parser = ReadAll("training/recipe/recipe.cc");
  const std::string guide = ReadAll("docs/training.md");
  const std::regex asks(
      R"re((?:Optional|Section|List|Path|Choice<\w+>)\((?:yaml,\s*)?\s*"(\w+)")re");
  int keys = 0;
  for (std::sregex_iterator at(parser.begin(), parser.end(), asks), end; at != end; ++at, ++keys) {
    const std::string key = (*at)[1];
    EXPECT_TRUE(std::regex_search(guide, std::regex("[`.:{ ]" + key + "[`:]"))) << key;
  }
  EXPECT_GT(keys, 50);
}

TEST_F(RecipeTest, TheGuidesExampleIsARecipe) {
  const std::string guide = ReadAll("docs/training.md");
  const std::string fence = "```yaml\n";
  const std::size_t begin = guide.find(fence) + fence.size();
  const auto recipe = Read(guide.substr(begin, guide.find("```", begin) - begin));
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_EQ(recipe->stages.size(), 1u);
}

TEST_F(RecipeTest, TheDemoRecipeIsValid) {
  const auto demo = ReadRecipe("demo/recipe.yaml");
  ASSERT_TRUE(demo.ok()) << demo.status();
  EXPECT_EQ(demo->stages[0].objective, ObjectiveKind::kPatchLabels);
  EXPECT_TRUE(demo->evaluation.wanted());
}

TEST_F(RecipeTest, NoiseIsForTexts) {
  const auto with = [&](const std::string& lines) {
    return Changed("    schedule: linear\n", lines);
  };
  const auto noisy = Read(with("    neftune_alpha: 5\n"));
  ASSERT_TRUE(noisy.ok()) << noisy.status();
  EXPECT_EQ(noisy->stages[1].neftune_alpha, 5.0);
  EXPECT_EQ(noisy->stages[0].neftune_alpha, 0.0);
  ExpectError(with("    neftune_alpha: -1\n"),
              "25: stages[1].neftune_alpha: is -1, expected 0 to 1000");
  ExpectError(with("    objective: patch_labels\n    neftune_alpha: 5\n"),
              "26: stages[1].neftune_alpha: is for the objective conversation");
}

TEST_F(RecipeTest, WhoIsToldOfARunChangesNothingOfIt) {
  const std::string tracked =
      std::string(kGood) +
      "tracking: {mlflow: {uri: \"https://mlflow.example.com\", experiment: e, token_file: t}}\n";
  const auto with = Read(tracked);
  ASSERT_TRUE(with.ok()) << with.status();
  EXPECT_TRUE(with->mlflow.wanted());
  EXPECT_EQ(with->mlflow.experiment, "e");
  EXPECT_EQ(with->mlflow.token_file, folder_ + "/t");
  const auto without = Read(kGood);
  ASSERT_TRUE(without.ok());
  EXPECT_FALSE(without->mlflow.wanted());
  EXPECT_EQ(RecipeDigest(*with, 2), RecipeDigest(*without, 2));
  EXPECT_EQ(with->settings.size(), without->settings.size());
  EXPECT_EQ(FlatRecipe(*with), FlatRecipe(*without));
  EXPECT_THAT(
      FlatRecipe(*with),
      AllOf(Contains(Pair("name", "small")), Contains(Pair("stages[1].batch", "4")),
            Contains(Pair("stages[1].train[1]", "decoder")), Contains(Pair("save.keep", "3"))));
  ExpectError(std::string(kGood) + "tracking: {}\n", "26: tracking.mlflow");
  ExpectError(std::string(kGood) + "tracking: {mlflow: {uri: \"ftp://h\", experiment: e}}\n",
              "26: tracking.mlflow.uri: expected http: or https:");
}

TEST_F(RecipeTest, AMissingFileIsNotFound) {
  EXPECT_EQ(ReadRecipe(folder_ + "/none.yaml").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace llava::training
