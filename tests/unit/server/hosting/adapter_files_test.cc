#include "server/hosting/adapter_files.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::server {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr char kFamily[] = "tests/golden/data/families/llava_qwen2";

class AdapterFilesTest : public ::testing::Test {
 protected:
  AdapterFilesTest() {
    fs::copy(absl::StrCat(kFamily, "/adapters/patterns"), dir_);
    text_ = model::ReadConfig(absl::StrCat(kFamily, "/checkpoint")).value().text;
  }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << text;
  }
  std::string Said() { return std::string(CheckAdapterFiles(dir_, &text_).message()); }

  const test::TempDir temporary_;
  const std::string dir_ = temporary_.path() + "/adapter";
  model::TextConfig text_;
};

TEST_F(AdapterFilesTest, AnAdapterOfItsBaseIsWell) {
  EXPECT_EQ(CheckAdapterFiles(dir_, &text_), absl::OkStatus());
  EXPECT_EQ(CheckAdapterFiles(dir_, nullptr), absl::OkStatus());
}

TEST_F(AdapterFilesTest, OneOfAnotherBaseIsNot) {
  text_.num_layers = 0;
  const absl::Status status = CheckAdapterFiles(dir_, &text_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(CheckAdapterFiles(dir_, nullptr), absl::OkStatus());
}

TEST_F(AdapterFilesTest, TheRankIsThatOfTheConfiguration) {
  Write("adapter_config.json", R"({"peft_type": "LORA", "r": 9, "lora_alpha": 8,)"
                               R"( "target_modules": "all-linear"})");
  EXPECT_THAT(Said(), HasSubstr("expected the rank 9 by adapter_config.json"));
}

TEST_F(AdapterFilesTest, FilesThatAreMissingOrDamagedAreNamed) {
  const std::string weights = dir_ + "/adapter_model.safetensors";
  fs::resize_file(weights, fs::file_size(weights) - 1);
  EXPECT_THAT(Said(), HasSubstr("adapter_model.safetensors: "));
  fs::remove(weights);
  EXPECT_EQ(CheckAdapterFiles(dir_, &text_).code(), absl::StatusCode::kNotFound);
  fs::remove(dir_ + "/adapter_config.json");
  EXPECT_THAT(Said(), HasSubstr("adapter_config.json"));
  EXPECT_THAT(std::string(CheckAdapterFiles(dir_ + "/none", &text_).message()),
              HasSubstr("none/adapter_config.json"));
}

TEST_F(AdapterFilesTest, WhatIsNotServedBesideABaseIsSaid) {
  const absl::Status status = CheckAdapterFiles(absl::StrCat(kFamily, "/adapters/dora"), &text_);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("use_dora"));
}

}  // namespace
}  // namespace llava::server
