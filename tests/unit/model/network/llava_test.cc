// Loading: what is accepted, what is refused with which words, and what it costs.
#include "model/network/llava.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "model/attention/sdpa_attention.h"
#include "model/checkpoint/mapped_file.h"
#include "model/network/checkpoint_writer.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using test::TempDir;
using testing::AllOf;
using testing::HasSubstr;

constexpr char kNorm[] = "language_model.model.norm.weight";
constexpr char kHead[] = "language_model.lm_head.weight";

// Logits of a fixed prompt of text.
at::Tensor TextLogits(const Llava& model) {
  const at::Tensor ids = at::arange(3, 20, at::TensorOptions().dtype(at::kLong));
  SdpaAttention attention({ids.size(0)});
  const at::Tensor positions = at::arange(ids.size(0), at::TensorOptions().dtype(at::kLong));
  return model.Logits(model.Forward(model.Embed(ids), positions, attention));
}

at::Tensor Pixels(const Llava& model) {
  const std::int64_t size = model.config().vision.image_size;
  return at::arange(3 * size * size, at::TensorOptions().dtype(at::kFloat))
             .remainder(97)
             .view({1, 3, size, size}) /
         97;
}

class LlavaTest : public testing::Test {
 protected:
  std::unique_ptr<Llava> Load(const std::string& directory, const LoadOptions& options = {}) {
    auto model = Llava::Load(directory, options);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *std::move(model) : nullptr;
  }

  // The golden checkpoint with these tensors does not load, and the error names all these words.
  void ExpectRefused(const FixtureTensors& tensors, absl::StatusCode code,
                     const std::vector<std::string>& words, bool verify = false) {
    TempDir dir;
    WriteCheckpoint(dir.path(), tensors);
    ExpectLoadError(dir.path(), {.verify = verify}, code, words);
  }

  void ExpectLoadError(const std::string& directory, const LoadOptions& options,
                       absl::StatusCode code, const std::vector<std::string>& words) {
    const absl::Status status = Llava::Load(directory, options).status();
    EXPECT_EQ(status.code(), code) << status;
    for (const std::string& word : words) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(word));
    }
  }

  const FixtureTensors golden_ = GoldenTensors();
};

TEST_F(LlavaTest, WeightsOfTheSameDtypeAreNotCopied) {
  const auto model = Load(GoldenCheckpointDir(), {.dtype = at::kBFloat16});
  const auto other = Load(GoldenCheckpointDir(), {.dtype = at::kBFloat16});
  // Tensors of one mapping lie as far apart as in the file.
  const auto distance = [](const Llava& llava) {
    return static_cast<const char*>(llava.weights().at(kNorm).const_data_ptr()) -
           static_cast<const char*>(llava.weights().at(kHead).const_data_ptr());
  };
  EXPECT_EQ(distance(*model), distance(*other));
  EXPECT_EQ(std::memcmp(model->weights().at(kNorm).const_data_ptr(), golden_.at(kNorm).bytes.data(),
                        golden_.at(kNorm).bytes.size()),
            0);
}

TEST_F(LlavaTest, PackedForServingItAnswersTheSameWhateverTheFileHolds) {
  FixtureTensors wide = golden_;
  for (auto& [name, tensor] : wide) {
    std::string bytes;
    for (std::size_t i = 0; i < tensor.bytes.size(); i += 2) {
      absl::StrAppend(&bytes, std::string(2, '\0'), tensor.bytes.substr(i, 2));
    }
    tensor = {.dtype = DType::kFloat32, .shape = tensor.shape, .bytes = bytes};
  }
  TempDir dir;
  WriteCheckpoint(dir.path(), wide);
  const c10::InferenceMode inference;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto narrow = Load(GoldenCheckpointDir(), {.dtype = dtype, .pack = true});
    const auto other = Load(dir.path(), {.dtype = dtype, .pack = true, .verify = true});
    EXPECT_EQ(narrow->dtype(), dtype);
    EXPECT_TRUE(narrow->weights().empty());
    EXPECT_TRUE(TextLogits(*narrow).equal(TextLogits(*other)));
    EXPECT_TRUE(narrow->EncodeImages(Pixels(*narrow)).equal(other->EncodeImages(Pixels(*other))));
    const at::Tensor plain = TextLogits(*Load(GoldenCheckpointDir()));
    // fp32: sums in another order. bf16: closer than bf16 products of the same weights.
    const auto error = [&](const at::Tensor& logits) {
      return ((logits - plain).abs().max() / plain.abs().max()).item<double>();
    };
    const auto unpacked = Load(GoldenCheckpointDir(), {.dtype = dtype});
    EXPECT_LT(error(TextLogits(*narrow)),
              dtype == at::kFloat ? 1e-5 : 0.25 * error(TextLogits(*unpacked)));
  }
}

// Bytes of a field of /proc/self/status.
std::int64_t StatusBytes(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(field + ":")) return std::stoll(line.substr(field.size() + 1)) * 1024;
  }
  return 0;
}

TEST_F(LlavaTest, PackingNeedsTheMemoryOfTheWeightsOnlyOnce) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer keeps freed memory";
#endif
  constexpr std::int64_t kInner = 1 << 16;
  FixtureTensors tensors = golden_;
  std::int64_t weights = 0;
  for (auto& [name, tensor] : tensors) {
    if (absl::StrContains(name, "layers.") && name.starts_with("language_model") &&
        absl::StrContains(name, "mlp.")) {
      std::replace(tensor.shape.begin(), tensor.shape.end(), std::int64_t{192}, kInner);
      tensor.bytes.resize(64 * kInner * 2, '\1');
    }
    weights += static_cast<std::int64_t>(tensor.bytes.size());
  }
  TempDir dir;
  WriteCheckpoint(dir.path(), tensors);
  EditFile(absl::StrCat(dir.path(), "/config.json"), "\"intermediate_size\": 192",
           absl::StrCat("\"intermediate_size\": ", kInner));
  tensors.clear();
  Load(GoldenCheckpointDir(), {.dtype = at::kBFloat16, .pack = true});  // threads, allocators
  std::ofstream("/proc/self/clear_refs") << "5";                        // resets the peak
  const std::int64_t before = StatusBytes("VmRSS");
  const auto model = Load(dir.path(), {.dtype = at::kBFloat16, .pack = true});
  ASSERT_NE(model, nullptr);
  // Packed weights, and at the peak the file's pages of one layer's largest pair.
  EXPECT_LT(StatusBytes("VmRSS") - before, weights * 13 / 10);
  EXPECT_LT(StatusBytes("VmHWM") - before, weights * 16 / 10);
}

TEST_F(LlavaTest, AFileThatIsCutWhileItIsReadIsDataLoss) {
  for (const bool pack : {true, false}) {
    TempDir dir;
    WriteCheckpoint(dir.path(), golden_);
    const auto config = ReadConfig(dir.path());
    const auto checkpoint = Checkpoint::Open(dir.path());
    ASSERT_TRUE(config.ok() && checkpoint.ok());
    const std::string file = absl::StrCat(dir.path(), "/model.safetensors");
    std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
    CheckpointWeights source(
        *checkpoint, {.dtype = std::nullopt,
                      .device = pack ? at::kCPU : at::kMeta,
                      .verify = !pack,
                      .pack = pack ? std::optional(WeightFormat::kBlockFloat) : std::nullopt});
    const Llava model(*config, source);
    EXPECT_EQ(source.status().code(), absl::StatusCode::kDataLoss) << source.status();
    EXPECT_THAT(std::string(source.status().message()),
                AllOf(HasSubstr(file), HasSubstr("was cut while it was read")));
  }
}

TEST_F(LlavaTest, TrainingOnMappedWeightsLeavesTheFileAlone) {
  TempDir dir;
  WriteCheckpoint(dir.path(), golden_);
  const std::string before = ReadBytes(absl::StrCat(dir.path(), "/model.safetensors"));
  const auto model = Load(dir.path(), {.dtype = at::kBFloat16});
  model->weights().at(kNorm).fill_(0);
  EXPECT_EQ(ReadBytes(absl::StrCat(dir.path(), "/model.safetensors")), before);
  EXPECT_EQ(TextLogits(*model).abs().max().item<double>(), 0);
}

TEST_F(LlavaTest, GradientsReachTheWeightsThatWantThem) {
  const auto model = Load(GoldenCheckpointDir());
  for (const auto& [name, weight] : model->weights()) {
    weight.requires_grad_(!name.starts_with(kVisionPrefix));
  }
  const at::Tensor features = model->EncodeImages(Pixels(*model)).flatten(0, 1);
  const at::Tensor ids = at::arange(3, 40, at::TensorOptions().dtype(at::kLong));
  const at::Tensor rows = at::arange(5, 21, at::TensorOptions().dtype(at::kLong));
  const at::Tensor embeddings = Llava::PlaceImages(model->Embed(ids), rows, features);
  SdpaAttention attention({ids.size(0)});
  const at::Tensor positions = at::arange(ids.size(0), at::TensorOptions().dtype(at::kLong));
  model->Logits(model->Forward(embeddings, positions, attention)).square().mean().backward();
  for (const auto& [name, weight] : model->weights()) {
    EXPECT_EQ(weight.grad().defined(), !name.starts_with(kVisionPrefix)) << name;
    if (!weight.grad().defined()) continue;
    EXPECT_GT(weight.grad().abs().max().item<double>(), 0) << name;
  }
}

TEST_F(LlavaTest, BlocksAfterTheSelectedLayerMayBeAbsent) {
  FixtureTensors tensors = Renamed(golden_, [](const std::string& name) {
    const bool dormant =
        absl::StrContains(name, "encoder.layers.3.") || absl::StrContains(name, "post_layernorm");
    return dormant ? std::string() : name;
  });
  TempDir dir;
  WriteCheckpoint(dir.path(), tensors);
  EXPECT_NE(Load(dir.path()), nullptr);
}

TEST_F(LlavaTest, OtherDtypesOfTheFileAreConverted) {
  FixtureTensors tensors = golden_;
  FixtureTensor& norm = tensors.at(kNorm);
  std::string wide;
  for (std::size_t i = 0; i < norm.bytes.size(); i += 2) {  // bf16 is the upper half of fp32
    absl::StrAppend(&wide, std::string(2, '\0'), norm.bytes.substr(i, 2));
  }
  norm = {.dtype = DType::kFloat32, .shape = norm.shape, .bytes = wide};
  TempDir dir;
  WriteCheckpoint(dir.path(), tensors);
  EXPECT_TRUE(TextLogits(*Load(dir.path())).equal(TextLogits(*Load(GoldenCheckpointDir()))));
}

TEST_F(LlavaTest, TiedEmbeddings) {
  FixtureTensors tensors = golden_;
  tensors.erase(kHead);
  TempDir tied;
  WriteCheckpoint(tied.path(), tensors);
  ExpectLoadError(tied.path(), {}, absl::StatusCode::kNotFound, {kHead, "missing"});
  EditFile(absl::StrCat(tied.path(), "/config.json"), "\"tie_word_embeddings\": false",
           "\"tie_word_embeddings\": true");
  EditFile(absl::StrCat(tied.path(), "/config.json"), "\"tie_word_embeddings\": false",
           "\"tie_word_embeddings\": true");
  TempDir untied;
  tensors[kHead] = tensors.at("language_model.model.embed_tokens.weight");
  WriteCheckpoint(untied.path(), tensors);
  EXPECT_TRUE(TextLogits(*Load(tied.path())).equal(TextLogits(*Load(untied.path()))));
}

// The original layout: LLaVA's tensors in one directory, CLIP's in another.
TEST_F(LlavaTest, TheOriginalLayoutWithItsClipDirectory) {
  TempDir dir;
  TempDir clip;
  CopyGoldenFiles(dir.path());
  WriteTensors(absl::StrCat(dir.path(), "/model.safetensors"),
               Renamed(golden_, [](const std::string& name) {
                 if (name.starts_with("vision_tower.")) return std::string();
                 return absl::StrReplaceAll(
                     name, {{"language_model.model.", "model."},
                            {"language_model.lm_head", "lm_head"},
                            {"multi_modal_projector.linear_1", "model.mm_projector.0"},
                            {"multi_modal_projector.linear_2", "model.mm_projector.2"}});
               }));
  WriteTensors(absl::StrCat(clip.path(), "/model.safetensors"),
               Renamed(WithPrefix(golden_, "vision_tower."), [](const std::string& name) {
                 return name.substr(std::strlen("vision_tower."));
               }));
  WriteBytes(absl::StrCat(dir.path(), "/config.json"),
             R"({"architectures":["LlavaLlamaForCausalLM"],"model_type":"llava_llama",
                 "hidden_size":64,"intermediate_size":192,"num_hidden_layers":2,
                 "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":1024,
                 "max_position_embeddings":512,"rms_norm_eps":1e-5,"hidden_act":"silu",
                 "mm_vision_tower":"openai/clip-tiny","mm_hidden_size":64,"use_mm_proj":true,
                 "mm_projector_type":"mlp2x_gelu","mm_vision_select_layer":-2,
                 "mm_vision_select_feature":"patch","image_aspect_ratio":"pad"})");
  WriteBytes(absl::StrCat(clip.path(), "/config.json"),
             R"({"model_type":"clip","vision_config":{"hidden_size":64,"intermediate_size":128,
                 "num_hidden_layers":4,"num_attention_heads":4,"image_size":56,"patch_size":14,
                 "hidden_act":"quick_gelu"}})");
  const auto original = Load(dir.path(), {.vision_tower_dir = clip.path()});
  ASSERT_NE(original, nullptr);
  const auto golden = Load(GoldenCheckpointDir());
  EXPECT_TRUE(TextLogits(*original).equal(TextLogits(*golden)));
  EXPECT_TRUE(original->EncodeImages(Pixels(*golden)).equal(golden->EncodeImages(Pixels(*golden))));
  // Its image token is no row of the embedding.
  EXPECT_EQ(original->Embed(at::tensor({-200, 5}, at::TensorOptions().dtype(at::kLong))).size(0),
            2);
}

TEST_F(LlavaTest, AMissingTensor) {
  FixtureTensors tensors = golden_;
  tensors.erase(kNorm);
  ExpectRefused(tensors, absl::StatusCode::kNotFound,
                {"model.safetensors", kNorm, "missing", "[64]"});
}

TEST_F(LlavaTest, AnExtraTensor) {
  FixtureTensors tensors = golden_;
  tensors["language_model.model.layers.2.mlp.up_proj.weight"] = tensors.at(kNorm);
  ExpectRefused(tensors, absl::StatusCode::kInvalidArgument,
                {"model.safetensors", "layers.2.mlp.up_proj.weight", "extra tensor"});
}

TEST_F(LlavaTest, AWrongShape) {
  FixtureTensors tensors = golden_;
  tensors.at(kNorm).shape = {32, 2};
  ExpectRefused(tensors, absl::StatusCode::kInvalidArgument,
                {"model.safetensors", kNorm, "[32, 2]", "expected [64]"});
}

TEST_F(LlavaTest, AWrongDtype) {
  FixtureTensors tensors = golden_;
  tensors.at(kNorm).dtype = DType::kInt16;
  ExpectRefused(tensors, absl::StatusCode::kInvalidArgument,
                {"model.safetensors", kNorm, "dtype I16", "expected F16, BF16, F32 or F64"});
}

TEST_F(LlavaTest, NaNIsRefusedWithVerify) {
  FixtureTensors tensors = golden_;
  tensors.at(kNorm).bytes[10] = '\xc0';  // element 5
  tensors.at(kNorm).bytes[11] = '\x7f';
  TempDir dir;
  WriteCheckpoint(dir.path(), tensors);
  EXPECT_NE(Load(dir.path()), nullptr);
  ExpectRefused(tensors, absl::StatusCode::kDataLoss,
                {"model.safetensors", kNorm, "1 values that are NaN", "first at element 5"}, true);
}

TEST_F(LlavaTest, ATruncatedFile) {
  TempDir dir;
  WriteCheckpoint(dir.path(), golden_);
  std::filesystem::resize_file(absl::StrCat(dir.path(), "/model.safetensors"), 800'000);
  ExpectLoadError(dir.path(), {}, absl::StatusCode::kDataLoss,
                  {absl::StrCat(dir.path(), "/model.safetensors"), "truncated"});
}

TEST_F(LlavaTest, AModelThatIsNoLlava) {
  TempDir dir;
  WriteCheckpoint(dir.path(), golden_);
  WriteBytes(absl::StrCat(dir.path(), "/config.json"), R"({"model_type":"gpt2"})");
  ExpectLoadError(dir.path(), {}, absl::StatusCode::kInvalidArgument,
                  {absl::StrCat(dir.path(), "/config.json"), "gpt2"});
}

constexpr Quantization kFormats[] = {Quantization::kInt8, Quantization::kInt4};

at::Tensor Ids(std::int64_t first, std::int64_t count) {
  return at::arange(first, first + count, at::TensorOptions().dtype(at::kLong));
}

// Logits of prompts of text, one after the other in one batch.
at::Tensor BatchLogits(const Llava& model, const std::vector<at::Tensor>& prompts) {
  const c10::InferenceMode inference;
  std::vector<std::int64_t> lengths;
  std::vector<at::Tensor> positions;
  for (const at::Tensor& ids : prompts) {
    lengths.push_back(ids.size(0));
    positions.push_back(Ids(0, ids.size(0)));
  }
  SdpaAttention attention(lengths);
  return model.Logits(model.Forward(model.Embed(at::cat(prompts)), at::cat(positions), attention));
}

std::unique_ptr<Llava> LoadPacked(const std::string& directory, Quantization quantization) {
  auto model = Llava::Load(directory, {.pack = true, .quantization = quantization});
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

double Distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

TEST(Quantization, AnswersAlmostTheSame) {
  const c10::InferenceMode inference;
  const auto exact = LoadPacked(GoldenCheckpointDir(), Quantization::kNone);
  const std::vector<at::Tensor> prompt = {Ids(3, 40)};
  for (const Quantization format : kFormats) {
    const auto model = LoadPacked(GoldenCheckpointDir(), format);
    EXPECT_EQ(model->quantization(), format);
    EXPECT_EQ(model->dtype(), at::kFloat);
    EXPECT_TRUE(model->weights().empty());
    const bool int8 = format == Quantization::kInt8;
    const double logits = Distance(BatchLogits(*model, prompt), BatchLogits(*exact, prompt));
    EXPECT_LT(logits, int8 ? 0.05 : 0.4);
    EXPECT_GT(logits, int8 ? 1e-4 : 0.01);
    // The tower has 8 bits in both.
    EXPECT_LT(Distance(model->EncodeImages(Pixels(*model)), exact->EncodeImages(Pixels(*model))),
              0.02);
  }
}

// e4m3 has 4 bits of a number: its products are nearer than those of int4, and not much nearer.
TEST(Quantization, Fp8IsComputedOnCpusToMeasureIt) {
  const c10::InferenceMode inference;
  const auto exact = LoadPacked(GoldenCheckpointDir(), Quantization::kNone);
  const auto fp8 = LoadPacked(GoldenCheckpointDir(), Quantization::kFp8);
  EXPECT_EQ(fp8->quantization(), Quantization::kFp8);
  const std::vector<at::Tensor> prompt = {Ids(3, 40)};
  const double logits = Distance(BatchLogits(*fp8, prompt), BatchLogits(*exact, prompt));
  EXPECT_LT(logits, 0.3);
  EXPECT_GT(logits, 1e-3);
  // All but the decoder's layers is as it was.
  EXPECT_TRUE(at::equal(fp8->EncodeImages(Pixels(*fp8)), exact->EncodeImages(Pixels(*fp8))));
  EXPECT_TRUE(at::equal(fp8->Embed(Ids(3, 40)), exact->Embed(Ids(3, 40))));
  const absl::Status training =
      Llava::Load(GoldenCheckpointDir(), {.quantization = Quantization::kFp8}).status();
  EXPECT_EQ(training.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(training.message()), HasSubstr("fp8"));
}

TEST(Quantization, APromptIsTheSameBitsInAnyBatch) {
  for (const Quantization format : kFormats) {
    const auto model = LoadPacked(GoldenCheckpointDir(), format);
    const at::Tensor alone = BatchLogits(*model, {Ids(3, 17)});
    const at::Tensor batch = BatchLogits(*model, {Ids(100, 30), Ids(3, 17), Ids(50, 5)});
    EXPECT_TRUE(batch.narrow(0, 30, 17).equal(alone));
  }
}

TEST(Quantization, StoredItIsTheSameBitsAsWhileLoading) {
  const c10::InferenceMode inference;
  for (const Quantization format : kFormats) {
    TempDir dir;
    const std::string folder = absl::StrCat(dir.path(), "/codes");
    ASSERT_TRUE(SaveQuantized(GoldenCheckpointDir(), format, folder).ok());
    const auto stored = LoadPacked(folder, Quantization::kNone);
    const auto loaded = LoadPacked(GoldenCheckpointDir(), format);
    EXPECT_EQ(stored->quantization(), format);
    EXPECT_TRUE(BatchLogits(*stored, {Ids(3, 40)}).equal(BatchLogits(*loaded, {Ids(3, 40)})));
    EXPECT_TRUE(stored->EncodeImages(Pixels(*stored)).equal(loaded->EncodeImages(Pixels(*stored))));
    EXPECT_TRUE(Llava::Load(folder, {.device = at::kMeta, .verify = true}).ok());
    EXPECT_LT(std::filesystem::file_size(folder + "/model.safetensors"),
              (format == Quantization::kInt8 ? 0.65 : 0.6) *
                  static_cast<double>(
                      std::filesystem::file_size(GoldenCheckpointDir() + "/model.safetensors")));
  }
}

TEST(Quantization, StoredCodesAreRefusedWhereTheyCannotBeUsed) {
  TempDir dir;
  const std::string folder = absl::StrCat(dir.path(), "/codes");
  ASSERT_TRUE(SaveQuantized(GoldenCheckpointDir(), Quantization::kInt8, folder).ok());
  const absl::Status other =
      Llava::Load(folder, {.pack = true, .quantization = Quantization::kInt4}).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(other.message()), AllOf(HasSubstr(folder), HasSubstr("int8")));
  const absl::Status training = Llava::Load(folder, {}).status();
  EXPECT_EQ(training.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(training.message()), HasSubstr("quantised from"));
  const absl::Status gpu =
      Llava::Load(GoldenCheckpointDir(),
                  {.device = at::kCUDA, .pack = true, .quantization = Quantization::kInt4})
          .status();
  EXPECT_EQ(gpu.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(gpu.message()),
              AllOf(HasSubstr("int4"), HasSubstr("cuda"), HasSubstr("CPU")));
  const absl::Status twice =
      SaveQuantized(folder, Quantization::kInt8, absl::StrCat(dir.path(), "/twice"));
  EXPECT_EQ(twice.code(), absl::StatusCode::kInvalidArgument);
  const absl::Status cut =
      Llava::Load(folder, {.pack = true, .shard = {.rank = 0, .size = 2}}).status();
  EXPECT_EQ(cut.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(cut.message()),
              HasSubstr("32 columns of a matrix of codes, expected a multiple of 128"));
  // Numbers where config.json promises codes.
  std::filesystem::copy_file(GoldenCheckpointDir() + "/model.safetensors",
                             folder + "/model.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  const absl::Status numbers = Llava::Load(folder, {.pack = true}).status();
  EXPECT_EQ(numbers.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(numbers.message()), AllOf(HasSubstr("BF16"), HasSubstr("I8")));
}

}  // namespace
}  // namespace llava::model
