#include "server/commands/generate_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/tensor_file.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/temp_dir.h"

namespace llava {
namespace {

using test::TempDir;
using testing::HasSubstr;

class GenerateTest : public testing::Test {
 protected:
  GenerateTest() {
    options_.directory = model::GoldenCheckpointDir();
    options_.prompt = "What is in the picture?";
    options_.max_tokens = 4;
  }

  void ExpectError(absl::StatusCode code, const std::string& words) const {
    const absl::Status status = Generate(options_, [](std::string_view) {});
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }

  std::string Image(const std::string& name) const {
    return absl::StrCat("tests/golden/data/images/", name);
  }

  GenerateOptions options_;
  TempDir dir_;
};

TEST_F(GenerateTest, PrintsTheAnswersText) {
  options_.images = {Image("landscape.png"), Image("rgba.png")};
  options_.dtype = "bfloat16";
  std::string out;
  ASSERT_TRUE(Generate(options_, [&](std::string_view text) { out += text; }).ok());
  EXPECT_TRUE(out.ends_with('\n'));
  EXPECT_GT(out.size(), 1u);
}

TEST_F(GenerateTest, DumpsTheStagesOfThePrompt) {
  options_.images = {Image("landscape.png")};
  options_.json = true;
  options_.dump_stages = absl::StrCat(dir_.path(), "/stages.safetensors");
  ASSERT_TRUE(Generate(options_, [](std::string_view) {}).ok());
  const auto file = model::OpenTensorFile(options_.dump_stages);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors.at("pixel_values").shape, (std::vector<std::int64_t>{1, 3, 56, 56}));
  EXPECT_EQ(file->tensors.at("vision_features").shape, (std::vector<std::int64_t>{1, 16, 64}));
  EXPECT_EQ(file->tensors.at("projected").shape, (std::vector<std::int64_t>{1, 16, 64}));
  EXPECT_EQ(file->tensors.at("hidden_states").shape[0], 3);
  EXPECT_EQ(file->tensors.at("logits").shape[1], 1024);
}

TEST_F(GenerateTest, NamesWhatIsWrongWithItsArguments) {
  options_.images = {absl::StrCat(dir_.path(), "/absent.png")};
  ExpectError(absl::StatusCode::kNotFound, "absent.png");
  options_.images = {model::GoldenCheckpointDir() + "/config.json"};
  ExpectError(absl::StatusCode::kInvalidArgument, "config.json");
  options_.images = {};
  options_.dtype = "float16";
  ExpectError(absl::StatusCode::kInvalidArgument, "\"float16\", expected float32 or bfloat16");
  options_.dtype = "float32";
  options_.raw = true;
  options_.prompt = "<image> and no picture";
  ExpectError(absl::StatusCode::kInvalidArgument, "image");
}

}  // namespace
}  // namespace llava
