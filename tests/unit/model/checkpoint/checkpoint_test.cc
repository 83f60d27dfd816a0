#include "model/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using test::TempDir;
using testing::HasSubstr;

std::string Original(const std::string& name) {
  return absl::StrReplaceAll(
      name, {{"language_model.model.", "model."},
             {"language_model.lm_head", "lm_head"},
             {"multi_modal_projector.linear_1", "model.mm_projector.0"},
             {"multi_modal_projector.linear_2", "model.mm_projector.2"},
             {"vision_tower.vision_model", "model.vision_tower.vision_tower.vision_model"}});
}

std::string Inner(const std::string& name) {
  return absl::StrReplaceAll(name, {{"language_model.model.", "model.language_model."},
                                    {"language_model.lm_head", "lm_head"},
                                    {"multi_modal_projector", "model.multi_modal_projector"},
                                    {"vision_tower.", "model.vision_tower."}});
}

std::string Transformers5(const std::string& name) {
  return absl::StrReplaceAll(Inner(name), {{"vision_tower.vision_model.", "vision_tower."}});
}

std::string Mixed(const std::string& name) {
  return name.find("layers.1.") != std::string::npos ? Transformers5(name) : name;
}

struct LayoutCase {
  const char* name;
  std::string (*rename)(const std::string&);
  NameLayout layout;
};

std::string LayoutName(const testing::TestParamInfo<LayoutCase>& info) { return info.param.name; }

class CheckpointLayouts : public testing::TestWithParam<LayoutCase> {};
INSTANTIATE_TEST_SUITE_P(
    Layouts, CheckpointLayouts,
    testing::Values(LayoutCase{"original", Original, NameLayout::kOriginal},
                    LayoutCase{"on_disk", [](const std::string& name) { return name; },
                               NameLayout::kHuggingFace},
                    LayoutCase{"inner", Inner, NameLayout::kHuggingFaceInner},
                    LayoutCase{"transformers5", Transformers5, NameLayout::kTransformers5},
                    LayoutCase{"mixed", Mixed, NameLayout::kMixed}),
    LayoutName);

TEST_P(CheckpointLayouts, GiveTheSameTensors) {
  TempDir dir;
  const FixtureTensors golden = GoldenTensors();
  WriteTensors(absl::StrCat(dir.path(), "/model.safetensors"), Renamed(golden, GetParam().rename));
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->layout(), GetParam().layout);
  ASSERT_EQ(checkpoint->tensors().size(), golden.size());
  for (const auto& [name, tensor] : golden) {
    const auto at = checkpoint->tensors().find(name);
    ASSERT_TRUE(at != checkpoint->tensors().end()) << name;
    EXPECT_EQ(at->second.stored.bytes, tensor.bytes);
    EXPECT_EQ(at->second.key, GetParam().rename(name));
  }
}

// A flag beside a head that differs would silently give other tokens.
TEST(CheckpointTiesTest, AHeadThatDiffersIsNotTheEmbedding) {
  const TempDir dir;
  const std::string file = absl::StrCat(dir.path(), "/model.safetensors");
  FixtureTensors tensors = GoldenTensors();
  const auto is_tied = [&](bool flag) {
    WriteTensors(file, tensors);
    return Checkpoint::Open(dir.path())->IsHeadTied(flag);
  };
  EXPECT_FALSE(is_tied(true));
  EXPECT_FALSE(is_tied(false));
  tensors[kLmHeadName] = tensors.at("language_model.model.embed_tokens.weight");
  EXPECT_TRUE(is_tied(true));
  EXPECT_FALSE(is_tied(false));
  tensors[kLmHeadName].bytes.back() ^= 1;
  EXPECT_FALSE(is_tied(true));
  tensors.erase(kLmHeadName);
  EXPECT_TRUE(is_tied(true));
}

class CheckpointTest : public testing::Test {
 protected:
  void ExpectError(absl::StatusCode code, const std::vector<std::string>& words,
                   const std::string& tower = "") {
    const auto checkpoint = Checkpoint::Open(dir_.path(), tower);
    EXPECT_EQ(checkpoint.status().code(), code) << checkpoint.status();
    for (const std::string& word : words) {
      EXPECT_THAT(std::string(checkpoint.status().message()), HasSubstr(word));
    }
  }

  std::string Path(const std::string& name) const { return absl::StrCat(dir_.path(), "/", name); }

  // The golden tensors in two shards; the index as given, %A and %B for their names.
  void WriteShards(const FixtureTensors& first, const FixtureTensors& second) {
    WriteTensors(Path("a.safetensors"), first);
    WriteTensors(Path("b.safetensors"), second);
    std::string map;
    for (const auto& [name, tensor] : first)
      absl::StrAppend(&map, ",\"", name, "\":\"a.safetensors\"");
    for (const auto& [name, tensor] : second)
      absl::StrAppend(&map, ",\"", name, "\":\"b.safetensors\"");
    WriteBytes(Path("model.safetensors.index.json"),
               absl::StrCat(R"({"metadata":{},"weight_map":{)", map.substr(1), "}}"));
  }

  TempDir dir_;
  const FixtureTensors golden_ = GoldenTensors();
};

TEST_F(CheckpointTest, ReadsShards) {
  WriteShards(WithPrefix(golden_, "language_model."), [&] {
    FixtureTensors rest = WithPrefix(golden_, "vision_tower.");
    rest.merge(WithPrefix(golden_, "multi_modal_projector."));
    return rest;
  }());
  const auto checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tensors().size(), golden_.size());
  EXPECT_EQ(checkpoint->files().size(), 2u);
}

TEST_F(CheckpointTest, AnIndexThatNamesAnAbsentShard) {
  WriteShards(WithPrefix(golden_, "language_model."), WithPrefix(golden_, "vision_tower."));
  std::filesystem::remove(Path("b.safetensors"));
  ExpectError(absl::StatusCode::kNotFound,
              {Path("model.safetensors.index.json"), Path("b.safetensors"), "absent"});
}

TEST_F(CheckpointTest, AnIndexThatDoesNotFitItsShards) {
  const FixtureTensors language = WithPrefix(golden_, "language_model.");
  WriteShards(language, WithPrefix(golden_, "vision_tower."));
  FixtureTensors less = language;
  less.erase("language_model.lm_head.weight");
  WriteTensors(Path("a.safetensors"), less);
  ExpectError(absl::StatusCode::kInvalidArgument,
              {"places \"language_model.lm_head.weight\" in", "which lacks it"});
  WriteTensors(Path("a.safetensors"), golden_);
  ExpectError(absl::StatusCode::kInvalidArgument, {Path("a.safetensors"), "does not name"});
}

TEST_F(CheckpointTest, AnIndexThatLeadsOutOfItsDirectory) {
  WriteBytes(Path("model.safetensors.index.json"), R"({"weight_map":{"w":"../../etc/passwd"}})");
  ExpectError(absl::StatusCode::kInvalidArgument, {"weight_map[\"w\"]", "../../etc/passwd"});
  WriteBytes(Path("model.safetensors.index.json"), R"({"weight_map":[]})");
  ExpectError(absl::StatusCode::kInvalidArgument, {"weight_map is missing or not an object"});
  WriteBytes(Path("model.safetensors.index.json"), "{");
  ExpectError(absl::StatusCode::kInvalidArgument, {"expected JSON, found a fault"});
}

TEST_F(CheckpointTest, NoWeights) {
  ExpectError(absl::StatusCode::kNotFound, {dir_.path(), "no weights", "model.safetensors"});
}

TEST_F(CheckpointTest, ATensorThatNoLlavaHas) {
  FixtureTensors tensors = golden_;
  tensors["model.image_separator"] = tensors["vision_tower.vision_model.pre_layrnorm.bias"];
  WriteTensors(Path("model.safetensors"), tensors);
  ExpectError(
      absl::StatusCode::kInvalidArgument,
      {Path("model.safetensors"), "\"model.image_separator\" is no tensor of a LLaVA model"});
}

TEST_F(CheckpointTest, TheSameTensorUnderTwoNames) {
  FixtureTensors tensors = golden_;
  tensors["lm_head.weight"] = tensors["language_model.lm_head.weight"];
  WriteTensors(Path("model.safetensors"), tensors);
  ExpectError(absl::StatusCode::kInvalidArgument,
              {"\"lm_head.weight\" is the same tensor as \"language_model.lm_head.weight\""});
}

TEST_F(CheckpointTest, StrayBuffersAreIgnored) {
  FixtureTensors tensors = golden_;
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {.shape = {1}, .bytes = "abcd"};
  WriteTensors(Path("model.safetensors"), tensors);
  EXPECT_EQ(Checkpoint::Open(dir_.path())->tensors().size(), golden_.size());
}

TEST_F(CheckpointTest, TheTowerOfAnotherDirectory) {
  TempDir clip;
  WriteTensors(Path("model.safetensors"), Renamed(golden_, [](const std::string& name) {
                 return name.starts_with("vision_tower.") ? "" : Original(name);
               }));
  FixtureTensors tower = Renamed(WithPrefix(golden_, "vision_tower."), [](const std::string& name) {
    return name.substr(std::string("vision_tower.").size());
  });
  tower["text_model.final_layer_norm.bias"] = {.shape = {1}, .bytes = "abcd"};
  tower["logit_scale"] = {.shape = {}, .bytes = "abcd"};
  WriteTensors(absl::StrCat(clip.path(), "/model.safetensors"), tower);
  const auto checkpoint = Checkpoint::Open(dir_.path(), clip.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tensors().size(), golden_.size());
  EXPECT_EQ(checkpoint->layout(), NameLayout::kOriginal);
}

TEST_F(CheckpointTest, ATowerDirectoryWithoutOne) {
  TempDir clip;
  WriteTensors(Path("model.safetensors"), WithPrefix(golden_, "language_model."));
  ExpectError(absl::StatusCode::kNotFound, {clip.path(), "no weights"}, clip.path());
  WriteTensors(absl::StrCat(clip.path(), "/model.safetensors"),
               {{"logit_scale", {.shape = {}, .bytes = "abcd"}}});
  ExpectError(absl::StatusCode::kInvalidArgument, {clip.path(), "no CLIP vision tower"},
              clip.path());
}

// mm_projector.bin of the original layout, written by torch.save of PyTorch 2.11.
TEST_F(CheckpointTest, ThePickledProjectorBesideTheShards) {
  WriteTensors(Path("model.safetensors"), Renamed(golden_, [](const std::string& name) {
                 return name.starts_with("multi_modal_projector.") ? "" : Original(name);
               }));
  std::filesystem::copy_file("tests/unit/model/checkpoint/data/torch_save/mm_projector.bin",
                             Path("mm_projector.bin"));
  const auto checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const auto& [name, tensor] : WithPrefix(golden_, "multi_modal_projector.")) {
    EXPECT_EQ(checkpoint->tensors().at(name).stored.bytes, tensor.bytes) << name;
  }
}

TEST_F(CheckpointTest, ATruncatedFileIsNamed) {
  WriteTensors(Path("model.safetensors"), golden_);
  std::filesystem::resize_file(Path("model.safetensors"), 100'000);
  ExpectError(absl::StatusCode::kDataLoss, {Path("model.safetensors"), "truncated"});
}

}  // namespace
}  // namespace llava::model
