#include "training/export/merge_adapter.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/adapter/adapter_weights.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/manifest.h"
#include "model/checkpoint/weight_names.h"
#include "model/network/weights.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

constexpr char kBase[] = "tests/golden/data/families/llava_qwen2/checkpoint";
constexpr char kAdapter[] = "tests/golden/data/families/llava_qwen2/adapters/attention";

TEST(MergeAdapterTest, AddsTheProductToWhatTheAdapterChangesAndLeavesTheRest) {
  const test::TempDir dir;
  const std::string out = absl::StrCat(dir.path(), "/merged");
  const auto version = MergeAdapter(kBase, kAdapter, at::kFloat, out);
  ASSERT_TRUE(version.ok()) << version.status();
  const auto adapter = *model::ReadAdapter(kAdapter, 1 << 30);
  const auto base = *model::Checkpoint::Open(kBase), merged = *model::Checkpoint::Open(out);
  std::map<std::string, at::Tensor> added;
  for (const model::AdaptedWeights& one : adapter.products) {
    added[absl::StrCat(model::kLanguagePrefix, "layers.", one.product.layer, ".", one.product.name,
                       ".weight")] = at::matmul(one.b_OR, one.a_RI);
  }
  ASSERT_EQ(merged.tensors().size(), base.tensors().size());
  for (const auto& [name, tensor] : base.tensors()) {
    at::Tensor expected = model::TensorOf(tensor)->to(at::kFloat);
    if (added.contains(name)) expected = expected + added[name];
    const at::Tensor found = *model::TensorOf(merged.tensors().at(name));
    EXPECT_EQ(found.scalar_type(), at::kFloat) << name;
    EXPECT_TRUE(at::allclose(found, expected, 1e-6, 1e-7)) << name;
    added.erase(name);
  }
  EXPECT_TRUE(added.empty()) << added.begin()->first;

  const auto manifest = model::ReadManifest(out);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->version, *version);
  EXPECT_EQ(manifest->manifest.adapter, adapter.digest.Hex());
  EXPECT_TRUE(model::VerifyFiles(manifest->manifest, out).ok());
}

TEST(MergeAdapterTest, RowsGetTheMagnitudesOfTheAdapter) {
  const test::TempDir dir;
  const std::string out = absl::StrCat(dir.path(), "/merged");
  const std::string folder = "tests/golden/data/families/llava_qwen2/adapters/dora";
  ASSERT_TRUE(MergeAdapter(kBase, folder, at::kFloat, out).ok());
  const auto adapter = *model::ReadAdapter(folder, 1 << 30);
  const auto merged = *model::Checkpoint::Open(out);
  ASSERT_FALSE(adapter.products.empty());
  for (const model::AdaptedWeights& one : adapter.products) {
    const std::string name = absl::StrCat(model::kLanguagePrefix, "layers.", one.product.layer, ".",
                                          one.product.name, ".weight");
    const at::Tensor weight = *model::TensorOf(merged.tensors().at(name));
    EXPECT_TRUE(at::allclose(weight.norm(2, 1), one.magnitude_O.abs(), 1e-5, 1e-6)) << name;
  }
}

TEST(MergeAdapterTest, TheManifestNamesTheVersionThatItWasMadeFrom) {
  const test::TempDir dir;
  const std::string once = absl::StrCat(dir.path(), "/once"), twice = dir.path() + "/twice";
  const auto first = MergeAdapter(kBase, kAdapter, at::kFloat, once);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(MergeAdapter(once, kAdapter, at::kBFloat16, twice).ok());
  EXPECT_EQ(model::ReadManifest(twice)->manifest.parent, *first);
}

TEST(MergeAdapterTest, LeavesNothingBehindWhenItFails) {
  const test::TempDir dir;
  const std::string out = absl::StrCat(dir.path(), "/out");
  EXPECT_FALSE(MergeAdapter(kBase, absl::StrCat(dir.path(), "/none"), at::kFloat, out).ok());
  const auto other =
      MergeAdapter("tests/golden/data/families/llava_phi3/checkpoint", kAdapter, at::kFloat, out);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("qkv_proj"));
  EXPECT_FALSE(std::filesystem::exists(out));
  std::filesystem::create_directory(out);
  EXPECT_EQ(MergeAdapter(kBase, kAdapter, at::kFloat, out).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace llava::training
