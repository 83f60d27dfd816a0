#include "training/data/trainable.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

TEST(TrainableTest, LlavaWithLlamaMistralOrQwen2Is) {
  model::LlavaConfig config;
  EXPECT_TRUE(CheckTrainable(config, "f").ok());
  config.text.model_type = "mistral";
  EXPECT_TRUE(CheckTrainable(config, "f").ok());
  config.text.model_type = "qwen2";
  EXPECT_TRUE(CheckTrainable(config, "f").ok());
}

TEST(TrainableTest, OthersAreNamed) {
  model::LlavaConfig config;
  config.text.model_type = "qwen3";
  const absl::Status qwen = CheckTrainable(config, "/models/x");
  EXPECT_EQ(qwen.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(qwen.message()), HasSubstr("/models/x: is a llava with a qwen3 decoder"));
  config.text.model_type = "llama";
  for (const auto architecture : {model::Architecture::kLlavaNext, model::Architecture::kOnevision,
                                  model::Architecture::kVipLlava}) {
    config.architecture = architecture;
    EXPECT_EQ(CheckTrainable(config, "f").code(), absl::StatusCode::kUnimplemented);
  }
}

}  // namespace
}  // namespace llava::training
