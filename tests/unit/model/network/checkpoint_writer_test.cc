#include "model/network/checkpoint_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/checkpoint.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using test::TempDir;
using testing::HasSubstr;

class CheckpointWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    auto model = Llava::Load(GoldenCheckpointDir(), {.dtype = at::kBFloat16});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    options_.source_dir = GoldenCheckpointDir();
  }

  // Written and read again: the tensors of the golden checkpoint, bit for bit, whatever its shards.
  void ExpectGolden(const std::string& directory) {
    const auto checkpoint = Checkpoint::Open(directory);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const FixtureTensors golden = GoldenTensors();
    ASSERT_EQ(checkpoint->tensors().size(), golden.size());
    for (const auto& [name, tensor] : golden) {
      const CheckpointTensor& read = checkpoint->tensors().at(name);
      EXPECT_EQ(read.stored.bytes, tensor.bytes) << name;
      EXPECT_EQ(read.key, name);
    }
    EXPECT_TRUE(Llava::Load(directory, {}).ok());
  }

  TempDir dir_;
  std::string out_ = absl::StrCat(dir_.path(), "/written");
  SaveOptions options_;
  std::unique_ptr<Llava> model_;
};

TEST_F(CheckpointWriterTest, WritesOneFile) {
  ASSERT_TRUE(SaveCheckpoint(*model_, out_, options_).ok());
  ExpectGolden(out_);
  EXPECT_FALSE(std::filesystem::exists(absl::StrCat(out_, "/model.safetensors.index.json")));
  for (const char* name : {"tokenizer.model", "tokenizer.json", "preprocessor_config.json",
                           "chat_template.json", "config.json", "generation_config.json"}) {
    EXPECT_TRUE(std::filesystem::exists(absl::StrCat(out_, "/", name))) << name;
  }
}

TEST_F(CheckpointWriterTest, WritesShardsAboveTheLimit) {
  options_.max_shard_bytes = 200'000;
  ASSERT_TRUE(SaveCheckpoint(*model_, out_, options_).ok());
  ExpectGolden(out_);
  EXPECT_EQ(Checkpoint::Open(out_)->files().size(), 5u);
  EXPECT_TRUE(std::filesystem::exists(absl::StrCat(out_, "/model-00005-of-00005.safetensors")));
}

TEST_F(CheckpointWriterTest, WritesWhatTrainingChanged) {
  model_->weights().at("language_model.model.norm.weight").fill_(0.5);
  ASSERT_TRUE(SaveCheckpoint(*model_, out_, options_).ok());
  const auto again = Llava::Load(out_, {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->weights().at("language_model.model.norm.weight").min().item<double>(), 0.5);
}

TEST_F(CheckpointWriterTest, ConvertsToTheDtypeAskedFor) {
  options_.dtype = at::kFloat;
  ASSERT_TRUE(SaveCheckpoint(*model_, out_, options_).ok());
  const auto checkpoint = Checkpoint::Open(out_);
  for (const auto& [name, tensor] : checkpoint->tensors()) {
    EXPECT_EQ(tensor.stored.dtype, DType::kFloat32) << name;
  }
  EXPECT_EQ(ReadConfig(out_)->dtype, "float32");
}

TEST_F(CheckpointWriterTest, NeverWritesOverAModel) {
  ASSERT_TRUE(SaveCheckpoint(*model_, out_, options_).ok());
  const absl::Status again = SaveCheckpoint(*model_, out_, options_);
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(again.message()), HasSubstr(out_));
}

TEST_F(CheckpointWriterTest, NamesWhatCannotBeWritten) {
  WriteBytes(absl::StrCat(dir_.path(), "/file"), "");
  const absl::Status status =
      SaveCheckpoint(*model_, absl::StrCat(dir_.path(), "/file/below"), options_);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("/file/below"));
  options_.dtype = at::kLong;
  EXPECT_EQ(SaveCheckpoint(*model_, out_, options_).code(), absl::StatusCode::kInvalidArgument);
}

TEST(WeightMemory, FallsWithTheBits) {
  const auto checkpoint = Checkpoint::Open(GoldenCheckpointDir());
  ASSERT_TRUE(checkpoint.ok());
  const auto bytes = [&](Quantization quantization) {
    return static_cast<double>(ServedMemory(*checkpoint, quantization, at::kBFloat16).all);
  };
  EXPECT_LT(bytes(Quantization::kInt8), 0.65 * bytes(Quantization::kNone));
  EXPECT_LT(bytes(Quantization::kInt4), bytes(Quantization::kInt8));
  TempDir dir;
  const std::string folder = absl::StrCat(dir.path(), "/codes");
  ASSERT_TRUE(SaveQuantized(GoldenCheckpointDir(), Quantization::kInt4, folder).ok());
  const auto stored = Checkpoint::Open(folder);
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(ServedMemory(*stored, Quantization::kInt4, at::kBFloat16).all,
            bytes(Quantization::kInt4));
}

// What devices deal out among them: all matrices of the decoder's layers, whatever they are held
// as.
TEST(WeightMemory, SaysWhatOfItTheLayersAre) {
  const auto checkpoint = Checkpoint::Open(GoldenCheckpointDir());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  // 64 wide, 4 heads and 2 for keys and values of 16, 192 inner places, 2 layers.
  const std::int64_t numbers = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 192);
  const WeightMemory plain = ServedMemory(*checkpoint, Quantization::kNone, at::kBFloat16);
  EXPECT_EQ(plain.layers, 2 * numbers);
  EXPECT_LT(plain.layers, plain.all);
  const WeightMemory codes = ServedMemory(*checkpoint, Quantization::kInt8, at::kBFloat16);
  EXPECT_GT(codes.layers, numbers);  // and scales
  EXPECT_LT(codes.layers, 2 * numbers);
  TempDir dir;
  const std::string folder = absl::StrCat(dir.path(), "/codes");
  ASSERT_TRUE(SaveQuantized(GoldenCheckpointDir(), Quantization::kInt8, folder).ok());
  const auto stored = Checkpoint::Open(folder);
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(ServedMemory(*stored, Quantization::kInt8, at::kBFloat16).layers, codes.layers);
  // A GPU has codes in the layers only, also where more of them are stored.
  const WeightMemory fp8 = ServedMemory(*checkpoint, Quantization::kFp8, at::kBFloat16, true);
  const std::int64_t rows = 2 * (64 + 2 * 32 + 64 + 2 * 192 + 64);
  EXPECT_EQ(fp8.layers, numbers + 4 * rows);
  EXPECT_EQ(fp8.all - fp8.layers, plain.all - plain.layers);
  for (const auto* folder_of : {&*checkpoint, &*stored}) {
    const WeightMemory int8 = ServedMemory(*folder_of, Quantization::kInt8, at::kBFloat16, true);
    EXPECT_EQ(int8.layers, codes.layers);
    EXPECT_EQ(int8.all - int8.layers, plain.all - plain.layers);
  }
}

}  // namespace
}  // namespace llava::model
