#include "training/export/original_layout.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <boost/json.hpp>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/attention/sdpa_attention.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/tensor_file.h"
#include "model/image/preprocess.h"
#include "model/network/llava.h"
#include "model/network/weights.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/temp_dir.h"
#include "training/run/hugging_face_layout.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

constexpr char kGolden[] = "tests/golden/data/checkpoint";
constexpr int kPieces = 1000;

class OriginalLayoutTest : public testing::Test {
 protected:
  // The refusal of a conversion that leaves nothing behind.
  std::string Refusal(const std::string& checkpoint, const std::string& tower,
                      absl::StatusCode code) {
    const absl::Status status = ConvertToOriginal(checkpoint, tower, out_).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_FALSE(std::filesystem::exists(out_));
    return std::string(status.message());
  }

  const test::TempDir dir_;
  const std::string out_ = dir_.path() + "/llava-v1.5-tiny";
  const std::string back_ = dir_.path() + "/back";
};

// Logits of the pieces after a text and an image's features.
at::Tensor Answer(const std::string& folder) {
  const auto model = model::Llava::Load(folder, {});
  EXPECT_TRUE(model.ok()) << model.status();
  const c10::InferenceMode inference;
  const std::int64_t side = (*model)->config().vision.image_size;
  std::vector<float> pixels(static_cast<std::size_t>(3 * side * side));
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>(i % 17) / 17.0F;
  const at::Tensor features =
      (*model)->EncodeImages(at::from_blob(pixels.data(), {1, 3, side, side})).flatten(0, 1);
  const at::Tensor embedded = at::cat({(*model)->Embed(at::arange(5, 15, at::kLong)), features});
  const std::int64_t tokens = embedded.size(0);
  model::SdpaAttention attention({tokens});
  return (*model)
      ->Logits((*model)->Forward(embedded, at::arange(tokens, at::kLong), attention))
      .narrow(1, 0, kPieces);
}

// Whether two folders hold the same tensors; of the tables of tokens the first `rows`.
void ExpectSameTensors(const std::string& a, const std::string& b, std::int64_t rows) {
  const auto left = model::Checkpoint::Open(a), right = model::Checkpoint::Open(b);
  ASSERT_TRUE(left.ok() && right.ok()) << left.status() << right.status();
  EXPECT_EQ(left->tensors().size(), right->tensors().size());
  for (const auto& [name, stored] : left->tensors()) {
    ASSERT_TRUE(right->tensors().contains(name)) << name;
    at::Tensor one = *model::TensorOf(stored);
    at::Tensor other = *model::TensorOf(right->tensors().at(name));
    if (absl::StrContains(name, "embed_tokens") || absl::StrContains(name, "lm_head")) {
      one = one.narrow(0, 0, rows);
      other = other.narrow(0, 0, rows);
    }
    EXPECT_EQ(one.scalar_type(), other.scalar_type()) << name;
    EXPECT_TRUE(at::equal(one, other)) << name;
  }
}

boost::json::object ReadObject(const std::string& path) {
  return boost::json::parse(*ReadFile(path, 1 << 20)).as_object();
}

std::string TextOf(const std::string& folder, const char* key) {
  return boost::json::value_to<std::string>(ReadObject(folder + "/config.json").at(key));
}

TEST_F(OriginalLayoutTest, HasTheKeysOfTheOriginalCode) {
  const absl::Status status = ConvertToOriginal(kGolden, "", out_).status();
  ASSERT_TRUE(status.ok()) << status;
  std::set<std::string> expected = {
      "model.embed_tokens.weight",   "model.norm.weight",         "lm_head.weight",
      "model.mm_projector.0.weight", "model.mm_projector.0.bias", "model.mm_projector.2.weight",
      "model.mm_projector.2.bias"};
  for (int layer = 0; layer < 2; ++layer) {
    for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                             "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
                             "input_layernorm", "post_attention_layernorm"}) {
      expected.insert(absl::StrCat("model.layers.", layer, ".", name, ".weight"));
    }
  }
  std::set<std::string> found;
  const auto file = model::OpenTensorFile(out_ + "/model.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  for (const auto& [key, tensor] : file->tensors) found.insert(key);
  EXPECT_EQ(found, expected);
  EXPECT_EQ(file->tensors.at("lm_head.weight").shape, (std::vector<std::int64_t>{kPieces, 64}));
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(out_)) {
    files.insert(entry.path().filename());
  }
  EXPECT_EQ(files, (std::set<std::string>{
                       "config.json", "generation_config.json", "mm_projector.bin",
                       "model.safetensors", "special_tokens_map.json", "tokenizer.model",
                       "tokenizer_config.json", "chat_template.jinja", "vision_tower"}));
}

TEST_F(OriginalLayoutTest, ItsConfigurationSaysWhatTheOriginalCodeReads) {
  ASSERT_TRUE(ConvertToOriginal(kGolden, "openai/clip-vit-large-patch14-336", out_).ok());
  EXPECT_FALSE(std::filesystem::exists(out_ + "/vision_tower"));
  const boost::json::object config = ReadObject(out_ + "/config.json");
  const boost::json::object expected = {
      {"architectures", boost::json::array{"LlavaLlamaForCausalLM"}},
      {"model_type", "llava_llama"},
      {"mm_vision_tower", "openai/clip-vit-large-patch14-336"},
      {"mm_hidden_size", 64},
      {"mm_projector_type", "mlp2x_gelu"},
      {"mm_vision_select_layer", -2},
      {"mm_vision_select_feature", "patch"},
      {"mm_patch_merge_type", "flat"},
      {"mm_use_im_start_end", false},
      {"mm_use_im_patch_token", false},
      {"use_mm_proj", true},
      {"mm_resampler_type", nullptr},
      {"image_grid_pinpoints", nullptr},
      {"image_aspect_ratio", "square"},
      {"unfreeze_mm_vision_tower", false},
      {"tokenizer_padding_side", "right"},
      {"tokenizer_model_max_length", 512},
      {"torch_dtype", "bfloat16"},
      {"vocab_size", kPieces},
      {"hidden_size", 64},
      {"intermediate_size", 192},
      {"num_hidden_layers", 2},
      {"num_attention_heads", 4},
      {"num_key_value_heads", 2},
      {"max_position_embeddings", 512},
      {"rms_norm_eps", 1e-5},
      {"tie_word_embeddings", false},
      {"bos_token_id", 1},
      {"eos_token_id", 2},
      {"pad_token_id", 0}};
  for (const auto& [key, value] : expected) {
    ASSERT_TRUE(config.contains(key)) << key;
    EXPECT_EQ(config.at(key), value) << key;
  }
  EXPECT_FALSE(config.contains("text_config"));
  EXPECT_FALSE(config.contains("vision_config"));
}

TEST_F(OriginalLayoutTest, AnswersAsBeforeAndComesBackBitForBit) {
  ASSERT_TRUE(ConvertToOriginal(kGolden, "", out_).ok());
  EXPECT_TRUE(at::equal(Answer(kGolden), Answer(out_)));
  const auto config = model::ReadConfig(out_);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layout, model::Layout::kOriginal);
  EXPECT_EQ(*model::ReadPreprocessSettings(out_, *config),
            *model::ReadPreprocessSettings(kGolden, *model::ReadConfig(kGolden)));
  EXPECT_EQ(model::ChatTemplate::ForCheckpoint(out_, *config)->Jinja(),
            model::ChatTemplate::ForCheckpoint(kGolden, *model::ReadConfig(kGolden))->Jinja());
  const auto slow = model::Tokenizer::Load(out_, model::Layout::kOriginal);
  const auto fast = model::Tokenizer::Load(kGolden, model::Layout::kHuggingFace);
  for (const char* text : {"USER: What is it?", "  two spaces", "\nline", "a</s>USER: b"}) {
    EXPECT_EQ(slow->Encode(text), fast->Encode(text)) << text;
  }

  const absl::Status back = ConvertToHuggingFace(out_, "", back_).status();
  ASSERT_TRUE(back.ok()) << back;
  ExpectSameTensors(kGolden, back_, kPieces);
  EXPECT_TRUE(at::equal(Answer(kGolden), Answer(back_)));
}

// The rows behind the pieces are the mean of the others by then, and so they are again.
TEST_F(OriginalLayoutTest, ASecondWayThereAndBackChangesNothingAtAll) {
  ASSERT_TRUE(ConvertToOriginal(kGolden, "", out_).ok());
  ASSERT_TRUE(ConvertToHuggingFace(out_, "", back_).ok());
  const std::string again = dir_.path() + "/again", twice = dir_.path() + "/twice";
  ASSERT_TRUE(ConvertToOriginal(back_, "", again).ok());
  ASSERT_TRUE(ConvertToHuggingFace(again, "", twice).ok());
  ExpectSameTensors(back_, twice, 1024);
  EXPECT_EQ(*ReadFile(out_ + "/model.safetensors", 1 << 24),
            *ReadFile(again + "/model.safetensors", 1 << 24));
}

TEST_F(OriginalLayoutTest, TheProjectorIsAFileOfItsOwnToo) {
  ASSERT_TRUE(ConvertToOriginal(kGolden, "", out_).ok());
  const auto all = model::OpenTensorFile(out_ + "/model.safetensors");
  const auto projector = model::OpenTensorFile(out_ + "/mm_projector.bin");
  ASSERT_TRUE(projector.ok()) << projector.status();
  ASSERT_EQ(projector->tensors.size(), 4u);
  for (const auto& [key, stored] : projector->tensors) {
    EXPECT_TRUE(at::equal(*model::TensorOf({stored, projector->file, key}),
                          *model::TensorOf({all->tensors.at(key), all->file, key})))
        << key;
  }
}

// What ConvertToHuggingFace makes of LLaVA v1's projector becomes one layer again.
TEST_F(OriginalLayoutTest, ASecondLayerThatChangesNothingIsLeftOut) {
  model::FixtureTensors tensors = model::GoldenTensors();
  model::FixtureTensor& weight = tensors.at("multi_modal_projector.linear_2.weight");
  model::FixtureTensor& bias = tensors.at("multi_modal_projector.linear_2.bias");
  weight.bytes.assign(weight.bytes.size(), '\0');
  bias.bytes.assign(bias.bytes.size(), '\0');
  for (std::size_t i = 0; i < 64; ++i) {  // 1.0 in bfloat16, little-endian
    weight.bytes.replace(2 * (64 * i + i), 2, "\x80\x3f");
  }
  const std::string linear = dir_.path() + "/linear";
  model::WriteCheckpoint(linear, tensors);
  model::EditFile(linear + "/config.json", R"("projector_hidden_act": "gelu")",
                  R"("projector_hidden_act": "linear")");
  ASSERT_TRUE(ConvertToOriginal(linear, "", out_).ok());
  EXPECT_EQ(TextOf(out_, "mm_projector_type"), "linear");
  const auto projector = model::OpenTensorFile(out_ + "/mm_projector.bin");
  ASSERT_TRUE(projector.ok()) << projector.status();
  EXPECT_EQ(projector->tensors.size(), 2u);
  EXPECT_TRUE(projector->tensors.contains("model.mm_projector.weight"));
  EXPECT_TRUE(at::equal(Answer(linear), Answer(out_)));
  std::filesystem::remove_all(out_);

  bias.bytes[0] = 1;
  model::WriteTensors(linear + "/model.safetensors", tensors);
  EXPECT_THAT(Refusal(linear, "", absl::StatusCode::kUnimplemented), HasSubstr("expected gelu"));
}

TEST_F(OriginalLayoutTest, ATowerThatIsNamedIsTheCheckpoints) {
  const std::string first = dir_.path() + "/first";
  ASSERT_TRUE(ConvertToOriginal(kGolden, "", first).ok());
  const std::string tower = first + "/vision_tower";
  ASSERT_TRUE(ConvertToOriginal(kGolden, tower, out_).ok());
  EXPECT_EQ(TextOf(out_, "mm_vision_tower"), tower);
  EXPECT_TRUE(at::equal(Answer(first), Answer(out_)));
  std::filesystem::remove_all(out_);

  std::string bytes = model::ReadBytes(tower + "/model.safetensors");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  model::WriteBytes(tower + "/model.safetensors", bytes);
  EXPECT_THAT(Refusal(kGolden, tower, absl::StatusCode::kInvalidArgument),
              HasSubstr("is not the checkpoint's; without --vision-tower"));
  model::EditFile(tower + "/preprocessor_config.json", "4.8145466E-1", "5E-1");
  EXPECT_THAT(Refusal(kGolden, tower, absl::StatusCode::kInvalidArgument),
              HasSubstr("preprocessing"));
}

TEST_F(OriginalLayoutTest, NamesWhatTheOriginalCodeDoesNotHave) {
  constexpr char kFamilies[] = "tests/golden/data/families/";
  EXPECT_THAT(Refusal(absl::StrCat(kFamilies, "llava_qwen2/checkpoint"), "",
                      absl::StatusCode::kUnimplemented),
              HasSubstr("qwen2"));
  EXPECT_THAT(Refusal(absl::StrCat(kFamilies, "next_mistral/checkpoint"), "",
                      absl::StatusCode::kUnimplemented),
              HasSubstr("llava_next"));
  const std::string other = dir_.path() + "/other";
  model::WriteCheckpoint(other, model::GoldenTensors());
  std::filesystem::remove(other + "/tokenizer.model");
  EXPECT_THAT(Refusal(other, "", absl::StatusCode::kUnimplemented),
              HasSubstr("holds no tokenizer.model"));
  ASSERT_TRUE(ConvertToOriginal(kGolden, "", other + "/original").ok());
  EXPECT_THAT(Refusal(other + "/original", "", absl::StatusCode::kInvalidArgument),
              HasSubstr("original layout already"));
  EXPECT_EQ(ConvertToOriginal(kGolden, "", other).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::exists(other + "/config.json"));
}

}  // namespace
}  // namespace llava::training
