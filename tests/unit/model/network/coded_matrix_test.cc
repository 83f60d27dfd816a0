// Checkpoints of AWQ and GPTQ: their numbers, their codes in formats of our own, and whole models.
#include "model/network/coded_matrix.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/attention/sdpa_attention.h"
#include "model/network/checkpoint_writer.h"
#include "model/network/llava.h"
#include "model/network/weights.h"
#include "tests/support/coded_fixture.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using test::TempDir;
using testing::AllOf;
using testing::HasSubstr;

using Method = ForeignCodes::Method;

constexpr char kModule[] = "language_model.model.layers.0.self_attn.q_proj";
constexpr char kName[] = "language_model.model.layers.0.self_attn.q_proj.weight";

at::Tensor Ids(std::int64_t count) {
  return at::arange(count, at::TensorOptions().dtype(at::kLong));
}

at::Tensor NumbersOf(const CodedFixture& matrix) {
  at::Tensor numbers = at::empty({matrix.out, matrix.in}, at::kFloat);
  for (std::int64_t o = 0; o < matrix.out; ++o) {
    for (std::int64_t k = 0; k < matrix.in; ++k) {
      numbers.mutable_data_ptr<float>()[o * matrix.in + k] = matrix.Number(o, k);
    }
  }
  return numbers;
}

// The matrix alone in a checkpoint.
class Stored {
 public:
  explicit Stored(const CodedFixture& matrix, FixtureTensors changed = {}) {
    FixtureTensors tensors = PackedCodes(matrix, kModule);
    for (auto& [key, tensor] : changed) tensors[key] = std::move(tensor);
    WriteTensors(absl::StrCat(dir_.path(), "/model.safetensors"), tensors);
    auto opened = Checkpoint::Open(dir_.path(), "", matrix.codes);
    EXPECT_TRUE(opened.ok()) << opened.status();
    checkpoint_ = std::make_unique<Checkpoint>(*std::move(opened));
  }

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const CheckpointTensor& tensor() const { return checkpoint_->tensors().at(kName); }

 private:
  TempDir dir_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

ForeignCodes RandomFormat(Rng& rng) {
  constexpr int kGroups[] = {0, 32, 64, 128, 32, 16};
  ForeignCodes codes{.group = kGroups[rng.Below(6)]};
  if (rng.Chance(0.4)) return codes;
  codes.method = Method::kGptq;
  codes.bits = rng.Chance(0.3) ? 8 : 4;
  codes.zero_offset = rng.Chance(0.5) ? 1 : 0;
  codes.any_order = codes.group != 0 && rng.Chance(0.5);
  return codes;
}

TEST(CodedMatrixTest, NumbersAreCodesLessZeroPointsTimesScales) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed);
    const ForeignCodes codes = RandomFormat(rng);
    // AWQ's groups are whole, of GPTQ the last may be shorter.
    const bool whole = codes.method == Method::kAwq && codes.group != 0;
    const std::int64_t in = whole ? codes.group * rng.Between(1, 5) : 8 * rng.Between(1, 50);
    const CodedFixture matrix = RandomCodes(codes, 8 * rng.Between(1, 25), in, false, rng);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ", ", ForeignCodesText(codes), ", [", matrix.out, ", ",
                              in, "]"));
    const Stored stored(matrix);
    const auto numbers = TensorOf(stored.tensor());
    ASSERT_TRUE(numbers.ok()) << numbers.status();
    EXPECT_TRUE(numbers->equal(NumbersOf(matrix)));
    // Rounded once to what is asked for.
    CheckpointWeights weights(stored.checkpoint(), {.dtype = at::kBFloat16, .verify = true});
    EXPECT_TRUE(weights.Take(kName, {matrix.out, in}).equal(numbers->to(at::kBFloat16)));
    EXPECT_TRUE(weights.status().ok()) << weights.status();
  }
}

TEST(CodedMatrixTest, CodesAreKeptWhereAFormatOfOursHoldsThem) {
  struct Case {
    ForeignCodes codes;
    bool symmetric;
    WeightFormat format;
    bool exact;
  };
  const ForeignCodes gptq = {.method = Method::kGptq, .group = 64, .zero_offset = 1};
  const auto with = [](ForeignCodes codes, int group) {
    codes.group = group;
    return codes;
  };
  const Case cases[] = {
      {gptq, true, WeightFormat::kInt4, true},
      {with(gptq, 128), true, WeightFormat::kInt4, true},
      {with(gptq, 0), true, WeightFormat::kInt4, true},
      {with(gptq, 32), true, WeightFormat::kInt4, false},  // two scales in 64
      {gptq, false, WeightFormat::kInt4, false},           // codes from -15 to 15
      {with(gptq, 128), false, WeightFormat::kInt8, true},
      {{.method = Method::kGptq, .bits = 8, .group = 128}, true, WeightFormat::kInt8, true},
      {with({.method = Method::kAwq}, 128), false, WeightFormat::kInt8, true},
      {with({.method = Method::kAwq}, 64), false, WeightFormat::kInt8, false},
  };
  for (const Case& one : cases) {
    Rng rng(7);
    const CodedFixture fixture = RandomCodes(one.codes, 72, 384, one.symmetric, rng);
    SCOPED_TRACE(absl::StrCat(ForeignCodesText(one.codes), one.symmetric ? ", symmetric" : ""));
    const Stored stored(fixture);
    const auto matrix = CodedMatrix::Read(*stored.tensor().coded);
    ASSERT_TRUE(matrix.ok()) << matrix.status();
    const at::Tensor numbers = NumbersOf(fixture);
    const at::Tensor held = matrix->Quantized(one.format).Rows(Ids(fixture.out));
    const double off = ((held - numbers).norm() / numbers.norm()).item<double>();
    if (one.exact) {
      EXPECT_TRUE(held.equal(numbers)) << off;
    } else {
      EXPECT_GT(off, 0);
      EXPECT_LT(off, one.format == WeightFormat::kInt8 ? 0.01 : 0.15);
      // No worse than from the numbers.
      EXPECT_LE(off,
                ((QuantizeMatrix(numbers, one.format).Rows(Ids(fixture.out)) - numbers).norm() /
                 numbers.norm())
                        .item<double>() *
                    1.0001);
    }
  }
}

// The numbers of docs/formats.md: normally distributed weights, rounded as AWQ does, then to int4.
TEST(CodedMatrixTest, TheSecondRoundingIsSmallBesideTheFirst) {
  Rng rng(5);
  constexpr std::int64_t kGroup = 128;
  CodedFixture fixture =
      RandomCodes({.method = Method::kAwq, .group = kGroup}, 64, 1024, false, rng);
  at::Tensor weights = at::empty({fixture.out, fixture.in}, at::kFloat);
  float* const number = weights.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < weights.numel(); ++i) {
    number[i] = static_cast<float>(0.06 * rng.Normal());
  }
  for (std::int64_t o = 0; o < fixture.out; ++o) {
    for (std::int64_t g = 0; g < fixture.groups; ++g) {
      const std::span<const float> part(number + o * fixture.in + g * kGroup, kGroup);
      const auto [low, high] = std::minmax_element(part.begin(), part.end());
      // Not below the least scale that a fixture has.
      const double step = std::max(0.0, std::ceil(double(*high - *low) / 15 * 65536) - 1024);
      ASSERT_LT(step, 1024);
      fixture.steps[g * fixture.out + o] = static_cast<std::uint16_t>(step);
      const float scale = fixture.Scale(g, o);
      const float zero = std::nearbyint(-*low / scale);
      fixture.zeros[g * fixture.out + o] = static_cast<std::uint32_t>(zero);
      for (std::int64_t k = 0; k < kGroup; ++k) {
        const float code = std::nearbyint(part[k] / scale) + zero;
        fixture.q[o * fixture.in + g * kGroup + k] =
            static_cast<std::uint32_t>(std::clamp(code, 0.0f, 15.0f));
      }
    }
  }
  const Stored stored(fixture);
  const auto matrix = CodedMatrix::Read(*stored.tensor().coded);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  const at::Tensor once = NumbersOf(fixture);
  const at::Tensor twice = matrix->Quantized(WeightFormat::kInt4).Rows(Ids(fixture.out));
  const auto off = [&](const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).norm() / weights.norm()).item<double>();
  };
  EXPECT_NEAR(off(once, weights), 0.10, 0.01);
  EXPECT_NEAR(off(twice, once), 0.02, 0.004);
  EXPECT_NEAR(off(twice, weights), 0.10, 0.01);
}

TEST(CodedMatrixTest, AGroupThatIsNotThereIsNamed) {
  Rng rng(3);
  const ForeignCodes codes = {.method = Method::kGptq, .group = 32, .any_order = true};
  const CodedFixture matrix = RandomCodes(codes, 16, 64, true, rng);
  const std::string key = absl::StrCat(kModule, ".g_idx");
  for (const std::int32_t wrong : {2, -1, 2'000'000'000}) {
    FixtureTensor g_idx = PackedCodes(matrix, kModule).at(key);
    g_idx.bytes.replace(5 * sizeof(wrong), sizeof(wrong), reinterpret_cast<const char*>(&wrong),
                        sizeof(wrong));
    const Stored stored(matrix, {{key, g_idx}});
    const absl::Status status = TensorOf(stored.tensor()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(key), HasSubstr("[64]"), HasSubstr(absl::StrCat(wrong)),
                      HasSubstr("element 5"), HasSubstr("from 0 to 1")));
    // Also where a version is only looked at.
    CheckpointWeights weights(stored.checkpoint(), {.device = at::kMeta, .verify = true});
    weights.Take(kName, {16, 64});
    EXPECT_EQ(weights.status(), status);
  }
}

TEST(CodedMatrixTest, ScalesThatAreNoNumbersAreFound) {
  Rng rng(3);
  const CodedFixture matrix = RandomCodes({.group = 32}, 16, 64, false, rng);
  const std::string key = absl::StrCat(kModule, ".scales");
  FixtureTensor scales = PackedCodes(matrix, kModule).at(key);
  scales.bytes.replace(6, 2, std::string("\x00\x7E", 2));  // NaN
  const Stored stored(matrix, {{key, scales}});
  CheckpointWeights weights(stored.checkpoint(), {.verify = true});
  weights.Take(kName, {16, 64});
  EXPECT_EQ(weights.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(weights.status().message()), AllOf(HasSubstr(key), HasSubstr("NaN")));
}

TEST(CodedMatrixTest, AnotherShapeThanTheConfigurationsIsNamed) {
  Rng rng(3);
  const Stored stored(RandomCodes({.group = 32}, 16, 64, false, rng));
  CheckpointWeights weights(stored.checkpoint(), {});
  weights.Take(kName, {16, 96});
  EXPECT_THAT(
      std::string(weights.status().message()),
      AllOf(HasSubstr("q_proj.qweight"), HasSubstr("[16, 64]"), HasSubstr("expected [16, 96]")));
}

// The golden checkpoint with random codes for the decoder's products.
class CodedModelTest : public testing::Test {
 protected:
  // Writes both, in `coded()` and in `plain()`; products whose names end with `plain_product` have
  // numbers in both.
  void Write(const ForeignCodes& codes, bool symmetric, const std::string& plain_product = "none") {
    Rng rng(11);
    FixtureTensors coded, plain;
    for (const auto& [name, tensor] : GoldenTensors()) {
      if (!IsDecoderProduct(name)) {
        coded[name] = plain[name] = tensor;
        continue;
      }
      const std::string module = name.substr(0, name.rfind('.'));
      const CodedFixture matrix =
          RandomCodes(codes, tensor.shape[0], tensor.shape[1], symmetric, rng);
      const FixtureTensors numbers = PlainNumbers(matrix, module);
      plain.insert(numbers.begin(), numbers.end());
      const bool left = absl::EndsWith(module, plain_product);
      const FixtureTensors parts = left ? numbers : PackedCodes(matrix, module);
      coded.insert(parts.begin(), parts.end());
    }
    std::filesystem::remove_all(plain_folder());
    WriteCheckpoint(plain_folder(), plain);
    WriteCoded(codes, coded);
  }

  void WriteCoded(const ForeignCodes& codes, const FixtureTensors& tensors) {
    coded_ = tensors;
    std::filesystem::remove_all(coded_folder());
    WriteCheckpoint(coded_folder(), tensors);
    const std::string before = "\"tie_word_embeddings\": false,";
    EditFile(coded_folder() + "/config.json", before,
             absl::StrCat(before, " ", QuantizationConfig(codes), ","));
  }

  static std::unique_ptr<Llava> Load(const std::string& folder, const LoadOptions& options) {
    auto model = Llava::Load(folder, options);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *std::move(model) : nullptr;
  }

  static at::Tensor Logits(const Llava& model) {
    const c10::InferenceMode inference;
    const at::Tensor ids = Ids(40);
    SdpaAttention attention({ids.size(0)});
    return model.Logits(model.Forward(model.Embed(ids), ids, attention));
  }

  void ExpectSame(const LoadOptions& options) {
    const auto coded = Load(coded_folder(), options), plain = Load(plain_folder(), options);
    ASSERT_TRUE(coded != nullptr && plain != nullptr);
    EXPECT_TRUE(Logits(*coded).equal(Logits(*plain)));
  }

  std::string coded_folder() const { return dir_.path() + "/coded"; }
  std::string plain_folder() const { return dir_.path() + "/plain"; }

  TempDir dir_;
  FixtureTensors coded_;
};

constexpr ForeignCodes kAwq = {.method = Method::kAwq, .group = 64};
constexpr ForeignCodes kOrdered = {
    .method = Method::kGptq, .group = 32, .zero_offset = 1, .any_order = true};
constexpr ForeignCodes kSymmetric = {.method = Method::kGptq, .group = 64};

TEST_F(CodedModelTest, AnswersAsItsNumbersDo) {
  for (const ForeignCodes& codes : {kAwq, kOrdered}) {
    Write(codes, /*symmetric=*/false);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      ExpectSame({.dtype = dtype});
      ExpectSame({.dtype = dtype, .pack = true});
      ExpectSame({.dtype = dtype, .pack = true, .verify = true});
    }
    EXPECT_TRUE(Llava::Load(coded_folder(), {.device = at::kMeta, .verify = true}).ok());
  }
}

TEST_F(CodedModelTest, AsCodesOfOurOwnItLosesNothingWhereTheyHoldIt) {
  Write(kSymmetric, /*symmetric=*/true);
  const auto exact = Load(plain_folder(), {.pack = true});
  const auto held = Load(coded_folder(), {.pack = true, .quantization = Quantization::kInt4});
  const auto again = Load(plain_folder(), {.pack = true, .quantization = Quantization::kInt4});
  const auto distance = [&](const Llava& model) {
    return ((Logits(model) - Logits(*exact)).norm() / Logits(*exact).norm()).item<double>();
  };
  // Activations are rounded in both, the weights in one of them only.
  EXPECT_LT(distance(*held), 0.5 * distance(*again));
}

TEST_F(CodedModelTest, StoredItIsTheSameBitsAsWhileLoading) {
  for (const ForeignCodes& codes : {kAwq, kOrdered, kSymmetric}) {
    Write(codes, /*symmetric=*/codes == kSymmetric);
    for (const Quantization format : {Quantization::kInt8, Quantization::kInt4}) {
      const TempDir out;
      const std::string folder = out.path() + "/stored";
      const absl::Status saved = SaveQuantized(coded_folder(), format, folder);
      ASSERT_TRUE(saved.ok()) << saved;
      const auto stored = Load(folder, {.pack = true});
      const auto loaded = Load(coded_folder(), {.pack = true, .quantization = format});
      EXPECT_EQ(stored->quantization(), format);
      EXPECT_TRUE(Logits(*stored).equal(Logits(*loaded)));
    }
  }
}

TEST_F(CodedModelTest, ProductsMayBeLeftAsNumbers) {
  Write(kSymmetric, /*symmetric=*/true, /*plain_product=*/"k_proj");
  ExpectSame({.pack = true});
  const auto model = Load(coded_folder(), {.pack = true, .quantization = Quantization::kInt4});
  EXPECT_EQ(model->quantization(), Quantization::kInt4);
}

// Of the checkpoint as numbers again: what training, merging and converting write.
TEST_F(CodedModelTest, IsWrittenAsNumbers) {
  Write(kAwq, /*symmetric=*/false);
  const auto model = Load(coded_folder(), {});
  const TempDir out;
  const std::string folder = out.path() + "/written";
  const absl::Status saved =
      SaveCheckpoint(*model, folder, {.source_dir = coded_folder(), .dtype = at::kFloat});
  ASSERT_TRUE(saved.ok()) << saved;
  const auto written = Load(folder, {});
  ASSERT_NE(written, nullptr);
  EXPECT_FALSE(written->config().foreign_codes);
  EXPECT_TRUE(Logits(*written).equal(Logits(*model)));
}

TEST_F(CodedModelTest, ABiasThatNoLayerHasMayBeZerosOnly) {
  Write(kAwq, /*symmetric=*/false);
  const std::string key = absl::StrCat(kModule, ".bias");
  FixtureTensors tensors = coded_;
  tensors[key] = {.dtype = DType::kFloat16, .shape = {64}, .bytes = std::string(128, '\0')};
  WriteCoded(kAwq, tensors);
  ExpectSame({.pack = true});
  tensors[key].bytes[77] = 1;
  WriteCoded(kAwq, tensors);
  const absl::Status status = Llava::Load(coded_folder(), {.pack = true}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(key), HasSubstr("extra tensor")));
}

TEST_F(CodedModelTest, TakesTheMemoryOfTheFormatThatItIsHeldIn) {
  Write(kSymmetric, /*symmetric=*/true);
  const auto coded = Checkpoint::Open(coded_folder(), "", kSymmetric);
  const auto plain = Checkpoint::Open(plain_folder());
  ASSERT_TRUE(coded.ok() && plain.ok());
  for (const Quantization format :
       {Quantization::kNone, Quantization::kInt8, Quantization::kInt4}) {
    EXPECT_EQ(ServedMemory(*coded, format, at::kBFloat16).all,
              ServedMemory(*plain, format, at::kBFloat16).all);
  }
}

}  // namespace
}  // namespace llava::model
