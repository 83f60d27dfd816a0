#include "training/run/hugging_face_layout.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/attention/sdpa_attention.h"
#include "model/checkpoint/checkpoint.h"
#include "model/image/preprocess.h"
#include "model/network/llava.h"
#include "model/network/weights.h"
#include "model/tensors/tensor_files.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"
#include "tests/support/temp_dir.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

// The golden checkpoint: 1000 pieces, then <image> and <pad>.
constexpr char kGolden[] = "tests/golden/data/checkpoint";
constexpr int kPieces = 1000;

// The golden checkpoint as the original code would have written it, its tower beside it.
class OriginalLayoutTest : public testing::Test {
 protected:
  void SetUp() override { WriteOriginal(false); }

  void WriteOriginal(bool linear_projector) {
    const auto golden = model::Checkpoint::Open(kGolden);
    ASSERT_TRUE(golden.ok()) << golden.status();
    std::vector<model::NamedTensor> decoder, tower;
    for (const auto& [name, stored] : golden->tensors()) {
      at::Tensor tensor = *model::TensorOf(stored);
      if (name.starts_with("vision_tower.")) {
        tower.emplace_back(name.substr(std::string("vision_tower.").size()), tensor);
        continue;
      }
      if (name.ends_with("embed_tokens.weight") || name.ends_with("lm_head.weight")) {
        tensor = tensor.narrow(0, 0, kPieces);
      }
      if (linear_projector && name.starts_with("multi_modal_projector.linear_2")) continue;
      decoder.emplace_back(
          absl::StrReplaceAll(name,
                              {{"language_model.model.", "model."},
                               {"language_model.lm_head", "lm_head"},
                               {"multi_modal_projector.linear_1",
                                linear_projector ? "model.mm_projector" : "model.mm_projector.0"},
                               {"multi_modal_projector.linear_2", "model.mm_projector.2"}}),
          tensor);
    }
    std::filesystem::create_directories(original_);
    std::filesystem::create_directories(clip_);
    ASSERT_TRUE(model::SaveTensors(original_ + "/model.safetensors", decoder).ok());
    ASSERT_TRUE(model::SaveTensors(clip_ + "/model.safetensors", tower).ok());
    std::filesystem::copy_file(absl::StrCat(kGolden, "/tokenizer.model"),
                               original_ + "/tokenizer.model",
                               std::filesystem::copy_options::overwrite_existing);
    WriteConfigs(*model::ReadConfig(kGolden), linear_projector ? "linear" : "mlp2x_gelu");
  }

  void WriteConfigs(const model::LlavaConfig& config, const std::string& projector) const {
    const model::TextConfig& text = config.text;
    std::ofstream(original_ + "/config.json")
        << R"({"model_type": "llava_llama", "architectures": ["LlavaLlamaForCausalLM"],)"
        << R"("_name_or_path": "lmsys/vicuna-7b-v1.5", "image_aspect_ratio": "pad",)"
        << R"("mm_use_im_start_end": false, "mm_projector_type": ")" << projector << "\","
        << R"("mm_vision_select_feature": "patch", "mm_vision_tower": ")" << clip_ << "\","
        << "\"mm_vision_select_layer\": " << config.feature_layers[0]
        << ", \"vocab_size\": " << kPieces << ", \"hidden_size\": " << text.hidden_size
        << ", \"intermediate_size\": " << text.intermediate_size
        << ", \"num_hidden_layers\": " << text.num_layers
        << ", \"num_attention_heads\": " << text.num_heads
        << ", \"num_key_value_heads\": " << text.num_kv_heads << ", \"head_dim\": " << text.head_dim
        << ", \"rms_norm_eps\": " << text.rms_norm_eps << ", \"rope_theta\": " << text.rope.theta
        << ", \"max_position_embeddings\": " << text.max_positions << "}";
    const model::VisionConfig& vision = config.vision;
    std::ofstream(clip_ + "/config.json")
        << R"({"model_type": "clip_vision_model", "hidden_size": )" << vision.hidden_size
        << ", \"intermediate_size\": " << vision.intermediate_size
        << ", \"num_hidden_layers\": " << vision.num_layers
        << ", \"num_attention_heads\": " << vision.num_heads
        << ", \"image_size\": " << vision.image_size << ", \"patch_size\": " << vision.patch_size
        << "}";
  }

  test::TempDir dir_;
  const std::string original_ = dir_.path() + "/llava-v1.5-tiny";
  const std::string clip_ = dir_.path() + "/clip";
  const std::string converted_ = dir_.path() + "/converted";
};

// Logits after a text and after an image's features.
at::Tensor Answer(const model::Llava& model) {
  const c10::InferenceMode inference;
  std::vector<float> pixels(3UL * static_cast<std::size_t>(model.config().vision.image_size *
                                                           model.config().vision.image_size));
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>(i % 17) / 17.0F;
  const std::int64_t side = model.config().vision.image_size;
  const at::Tensor features =
      model.EncodeImages(at::from_blob(pixels.data(), {1, 3, side, side})).flatten(0, 1);
  const at::Tensor ids = at::arange(5, 15, at::kLong);
  const at::Tensor embedded = at::cat({model.Embed(ids), features});
  const std::int64_t tokens = embedded.size(0);
  model::SdpaAttention attention({tokens});
  return model.Logits(model.Forward(embedded, at::arange(tokens, at::kLong), attention))
      .narrow(1, 0, kPieces);
}

TEST_F(OriginalLayoutTest, BecomesAHuggingFaceCheckpointOfTheSameModel) {
  const absl::Status status = ConvertToHuggingFace(original_, "", converted_).status();
  ASSERT_TRUE(status.ok()) << status;
  const auto before = model::Llava::Load(original_, {});
  const auto after = model::Llava::Load(converted_, {});
  ASSERT_TRUE(before.ok()) << before.status();
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_TRUE(at::equal(Answer(**before), Answer(**after)));
  const model::LlavaConfig& config = (*after)->config();
  EXPECT_EQ(config.layout, model::Layout::kHuggingFace);
  EXPECT_EQ(config.text.vocab_size, 1024);
  const at::Tensor table =
      (*after)->weights().at("language_model.model.embed_tokens.weight").to(at::kFloat);
  EXPECT_TRUE(table[config.image_token_id].allclose(table.narrow(0, 0, kPieces).mean(0), 0, 1e-3));

  const auto tokenizer = model::Tokenizer::Load(converted_, config.layout);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(tokenizer->IdOf("<image>"), kPieces);
  EXPECT_EQ(tokenizer->IdOf("<pad>"), kPieces + 1);
  EXPECT_EQ(config.image_token_id, kPieces);
  EXPECT_EQ(model::ChatTemplate::ForCheckpoint(converted_, config)->name(),
            model::ChatTemplate::ForCheckpoint(original_, (*before)->config())->name());
  EXPECT_EQ(*model::ReadPreprocessSettings(converted_, config),
            *model::ReadPreprocessSettings(original_, (*before)->config()));
}

// The paper's first projector. The Hugging Face model has two layers, whatever the files hold.
TEST_F(OriginalLayoutTest, ALinearProjectorGetsASecondLayerThatChangesNothing) {
  WriteOriginal(true);
  const absl::Status status = ConvertToHuggingFace(original_, "", converted_).status();
  ASSERT_TRUE(status.ok()) << status;
  const auto before = model::Llava::Load(original_, {});
  const auto after = model::Llava::Load(converted_, {});
  ASSERT_TRUE(before.ok()) << before.status();
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ((*before)->config().projector.depth, 1);
  EXPECT_EQ((*after)->config().projector.depth, 2);
  EXPECT_TRUE(at::equal(Answer(**before), Answer(**after)));
  EXPECT_THAT(*ReadFile(converted_ + "/config.json", 1 << 20),
              HasSubstr("\"projector_hidden_act\":\"linear\""));
}

TEST_F(OriginalLayoutTest, IsNotTrainedAsItIs) {
  Recipe recipe;
  recipe.model.checkpoint = original_;
  recipe.output = dir_.path() + "/run";
  const absl::Status status = RunRecipe(recipe, RealClock(), {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("llava-train convert " + original_));
}

TEST_F(OriginalLayoutTest, NamesWhatItDoesNotConvert) {
  EXPECT_EQ(ConvertToHuggingFace(kGolden, "", converted_).status().code(),
            absl::StatusCode::kInvalidArgument);
  std::ofstream(original_ + "/added_tokens.json") << R"({"<im_patch>": 1000})";
  const absl::Status status = ConvertToHuggingFace(original_, "", converted_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("<im_patch>"));
  EXPECT_FALSE(std::filesystem::exists(converted_));
}

}  // namespace
}  // namespace llava::training
