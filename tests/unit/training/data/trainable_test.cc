#include "training/data/trainable.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

TEST(TrainableTest, EveryArchitectureWithLlamaMistralQwen2OrPhi3Is) {
  model::LlavaConfig config;
  for (const auto architecture :
       {model::Architecture::kLlava, model::Architecture::kVipLlava,
        model::Architecture::kLlavaNext, model::Architecture::kOnevision}) {
    config.architecture = architecture;
    for (const char* decoder : {"llama", "mistral", "qwen2", "phi3"}) {
      config.text.model_type = decoder;
      EXPECT_TRUE(CheckTrainable(config, "f").ok()) << decoder;
    }
  }
}

TEST(TrainableTest, OthersAreNamed) {
  model::LlavaConfig config;
  config.architecture = model::Architecture::kLlavaNext;
  config.text.model_type = "qwen3";
  const absl::Status status = CheckTrainable(config, "/models/x");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("/models/x: is a llava_next with a qwen3 decoder, which is served but not "
                        "trained"));
}

}  // namespace
}  // namespace llava::training
