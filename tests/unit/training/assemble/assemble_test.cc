#include "training/assemble/assemble.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/item.h>
#include <ATen/ops/max.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/min.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/std.h>

#include <cmath>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/network/llava.h"
#include "model/text/chat_template.h"
#include "tests/unit/training/assemble/parts_folders.h"
#include "training/data/conversation_builder.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<model::Llava> Load(const std::string& folder) {
  auto model = model::Llava::Load(folder, {});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

TEST(AssembleTest, HasTheTensorsOfItsParts) {
  const PartsFolders parts;
  const absl::Status assembled = Assemble(parts.Options(), parts.out);
  ASSERT_TRUE(assembled.ok()) << assembled;
  const auto whole = model::Checkpoint::Open(parts.out);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const auto stored = [&](const std::string& name) {
    return *model::TensorOf(whole->tensors().at(name));
  };
  for (const auto& [name, tensor] : parts.language_tensors) {
    const at::Tensor now = stored("language_model." + name);
    EXPECT_TRUE(at::equal(now.narrow(0, 0, tensor.size(0)), tensor)) << name;
  }
  for (const auto& [name, tensor] : parts.tower_tensors) {
    EXPECT_TRUE(at::equal(stored("vision_tower." + name), tensor)) << name;
  }
  const at::Tensor words = stored("language_model.model.embed_tokens.weight");
  EXPECT_EQ(words.size(0), 1024);
  const at::Tensor mean = words.narrow(0, 0, kPieces).to(at::kFloat).mean(0).to(at::kBFloat16);
  for (int row = kPieces; row < 1024; ++row) EXPECT_TRUE(at::equal(words[row], mean)) << row;
}

// Normal with 1/sqrt(width), as in the original code, and the same for the same seed.
TEST(AssembleTest, TheEndOfAPicturesRowsIsNew) {
  const PartsFolders parts;
  AssembleOptions options = parts.Options();
  options.parts.architecture = model::Architecture::kLlavaNext;
  const auto newline = [&](const std::string& name) {
    const std::string folder = parts.out + name;
    const absl::Status status = Assemble(options, folder);
    EXPECT_TRUE(status.ok()) << status;
    return Load(folder)->weights().at("image_newline");
  };
  const at::Tensor first = newline("-1");
  const double width = static_cast<double>(first.size(0));
  EXPECT_NEAR(first.std().item<double>() * std::sqrt(width), 1.0, 0.3);
  EXPECT_TRUE(at::equal(first, newline("-2")));
  options.seed = 7;
  EXPECT_FALSE(at::equal(first, newline("-3")));
}

TEST(AssembleTest, IsWhatTrainingAndServingRead) {
  const PartsFolders parts;
  ASSERT_TRUE(Assemble(parts.Options(), parts.out).ok());
  Load(parts.out);
  const auto builder = ConversationBuilder::Make(parts.out, "", {});
  ASSERT_TRUE(builder.ok()) << builder.status();
  const auto chat = model::ChatTemplate::ForCheckpoint(parts.out, builder->config());
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->name(), "vicuna_v1");
}

TEST(AssembleTest, TheProjectorIsNormalAndDependsOnTheSeedAlone) {
  const PartsFolders parts;
  AssembleOptions options = parts.Options();
  for (const std::string name : {"/a", "/b", "/c"}) {
    options.seed = name == "/c" ? 43 : 42;
    ASSERT_TRUE(Assemble(options, parts.temp.path() + name).ok());
  }
  const auto projector = [&](const std::string& folder) -> at::Tensor {
    return Load(parts.temp.path() + folder)->weights().at("multi_modal_projector.linear_1.weight");
  };
  EXPECT_TRUE(at::equal(projector("/a"), projector("/b")));
  EXPECT_FALSE(at::equal(projector("/a"), projector("/c")));
  EXPECT_NEAR(projector("/a").std().item<double>(), 0.02, 0.001);
}

TEST(AssembleTest, TakesAProjectorThatWasTrained) {
  const PartsFolders parts;
  AssembleOptions options = parts.Options();
  ASSERT_TRUE(Assemble(options, parts.temp.path() + "/first").ok());
  const auto first = Load(parts.temp.path() + "/first");
  options.projector_file = parts.temp.path() + "/mm_projector.safetensors";
  std::vector<model::NamedTensor> tensors;
  for (const int layer : {1, 2}) {
    for (const std::string field : {".weight", ".bias"}) {
      const at::Tensor& like =
          first->weights().at(absl::StrCat("multi_modal_projector.linear_", layer, field));
      tensors.push_back({absl::StrCat("model.mm_projector.", 2 * (layer - 1), field),
                         at::ones_like(like) * layer});
    }
  }
  ASSERT_TRUE(model::SaveTensorsAs(options.projector_file, tensors, at::kBFloat16).ok());
  ASSERT_TRUE(Assemble(options, parts.out).ok());
  const auto whole = Load(parts.out);
  EXPECT_EQ(whole->weights().at("multi_modal_projector.linear_2.bias").min().item<float>(), 2.0F);
  tensors.pop_back();
  ASSERT_TRUE(model::SaveTensorsAs(options.projector_file, tensors, at::kBFloat16).ok());
  EXPECT_THAT(Assemble(options, parts.temp.path() + "/third").message(),
              HasSubstr("lacks multi_modal_projector.linear_2.bias"));
}

TEST(AssembleTest, OfAWholeClipOnlyTheTowerIsTaken) {
  PartsFolders parts;
  parts.tower_tensors["text_model.embeddings.token_embedding.weight"] = at::ones({4, 4});
  parts.tower_tensors["logit_scale"] = at::ones({1});
  parts.tower_tensors["visual_projection.weight"] = at::ones({4, 4});
  parts.WriteWeights();
  const absl::Status assembled = Assemble(parts.Options(), parts.out);
  ASSERT_TRUE(assembled.ok()) << assembled;
}

TEST(AssembleTest, WhatDoesNotFitIsNamed) {
  PartsFolders parts;
  const at::Tensor norm = parts.language_tensors.at("model.norm.weight");
  parts.language_tensors.erase("model.norm.weight");
  parts.WriteWeights();
  EXPECT_THAT(Assemble(parts.Options(), parts.out).message(),
              HasSubstr("language_model.model.norm.weight"));
  parts.language_tensors["model.norm.weight"] = at::ones({3});
  parts.WriteWeights();
  EXPECT_THAT(Assemble(parts.Options(), parts.out).message(), HasSubstr("model.norm.weight"));
  parts.language_tensors["model.norm.weight"] = norm;
  parts.language_tensors["model.layers.0.self_attn.q_proj.bias"] = at::ones({4});
  parts.WriteWeights();
  EXPECT_THAT(Assemble(parts.Options(), parts.out).message(), HasSubstr("q_proj.bias"));
  parts.language_tensors.erase("model.layers.0.self_attn.q_proj.bias");
  parts.tower_tensors.erase("vision_model.pre_layrnorm.weight");
  parts.WriteWeights();
  EXPECT_THAT(Assemble(parts.Options(), parts.out).message(), HasSubstr("pre_layrnorm.weight"));
}

TEST(AssembleTest, WeightsThatLieThereAreKept) {
  const PartsFolders parts;
  ASSERT_TRUE(Assemble(parts.Options(), parts.out).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Assemble(parts.Options(), parts.out)));
}

}  // namespace
}  // namespace llava::training
