#include "training/export/pin_adapter.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/manifest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kBase[] = "tests/golden/data/families/llava_qwen2/checkpoint";
constexpr char kOther[] = "tests/golden/data/families/llava_qwen3/checkpoint";
constexpr char kAdapter[] = "tests/golden/data/families/llava_qwen2/adapters/attention";

class PinAdapterTest : public testing::Test {
 protected:
  PinAdapterTest() { std::filesystem::copy(kAdapter, folder_); }

  const test::TempDir dir_;
  const std::string folder_ = dir_.path() + "/adapter";
  const std::string manifest_ = folder_ + "/manifest.json";
};

TEST_F(PinAdapterTest, TheManifestHasTheFilesAsTheyAre) {
  std::ofstream(folder_ + "/README.md") << "of somebody else";
  const auto pinned = PinAdapter(folder_, kBase);
  ASSERT_TRUE(pinned.ok()) << pinned.status();
  EXPECT_EQ(pinned->base, "llava/llava_qwen2");
  EXPECT_EQ(pinned->rank, 8);
  EXPECT_EQ(pinned->files, 3u);
  EXPECT_GT(pinned->bytes, 1000);
  const auto read = model::ReadManifest(folder_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->version, pinned->version);
  EXPECT_EQ(read->manifest.parent, "");
  EXPECT_TRUE(model::VerifyFiles(read->manifest, folder_).ok());
}

TEST_F(PinAdapterTest, TheParentIsTheVersionOfTheBase) {
  const std::string base = dir_.path() + "/base";
  std::filesystem::copy(kBase, base);
  model::Manifest manifest;
  manifest.files = *model::DescribeFiles(base);
  std::ofstream(base + "/manifest.json") << model::ManifestJson(manifest);
  ASSERT_TRUE(PinAdapter(folder_, base).ok());
  EXPECT_EQ(model::ReadManifest(folder_)->manifest.parent, model::ReadManifest(base)->version);
}

TEST_F(PinAdapterTest, AManifestThatIsThereIsVerifiedAndStays) {
  const auto first = PinAdapter(folder_, kBase);
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string bytes = *ReadFile(manifest_, 1 << 20);
  const auto again = PinAdapter(folder_, kBase);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->version, first->version);
  std::ofstream(folder_ + "/more") << "x";
  const auto more = PinAdapter(folder_, kBase);
  EXPECT_EQ(more.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(more.status().message()), HasSubstr("more: is not in the manifest"));
  EXPECT_EQ(*ReadFile(manifest_, 1 << 20), bytes);
}

TEST_F(PinAdapterTest, WhatDoesNotFitIsNamedAndNotPinned) {
  const auto other = PinAdapter(folder_, kOther);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.status().message()),
              AllOf(HasSubstr(folder_), HasSubstr(kOther), HasSubstr("layers.")));
  EXPECT_FALSE(std::filesystem::exists(manifest_));
  EXPECT_FALSE(PinAdapter(kBase, kBase).ok());
  EXPECT_FALSE(PinAdapter(folder_, dir_.path() + "/none").ok());
  EXPECT_FALSE(std::filesystem::exists(manifest_));
}

}  // namespace
}  // namespace llava::training
