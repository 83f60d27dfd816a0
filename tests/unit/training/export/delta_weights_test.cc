#include "training/export/delta_weights.h"

#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/manifest.h"
#include "model/network/llava.h"
#include "model/network/weights.h"
#include "model/tensors/tensor_files.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

using Change = std::function<at::Tensor(const std::string& name, const at::Tensor&)>;

constexpr std::int64_t kBaseRows = 1000;  // of 1024
constexpr char kQuery[] = "language_model.model.layers.1.self_attn.q_proj.weight";

// On a grid of 2^-10, where every sum and difference is exact in float32.
at::Tensor OnGrid(const at::Tensor& tensor) {
  return at::round(tensor.to(at::kFloat) * 1024) / 1024;
}

class DeltaWeightsTest : public testing::Test {
 protected:
  // The golden checkpoint with changed tensors.
  void WriteTarget(const Change& change) {
    std::vector<model::NamedTensor> tensors;
    for (const auto& [name, tensor] : Golden()) tensors.push_back({name, change(name, tensor)});
    model::CopyGoldenFiles(target_);
    ASSERT_TRUE(model::SaveTensors(target_ + "/model.safetensors", tensors).ok());
  }

  // Its decoder alone, with other weights and fewer tokens, in the names of a Llama.
  void WriteBase(at::ScalarType dtype, const Change& change) {
    std::vector<model::NamedTensor> tensors;
    for (const auto& [name, tensor] : Golden()) {
      if (!absl::StartsWith(name, "language_model.")) continue;
      at::Tensor changed = change(name, tensor).to(dtype);
      if (changed.size(0) == 1024) changed = changed.narrow(0, 0, kBaseRows);
      tensors.push_back(
          {absl::StrReplaceAll(name, {{"language_model.", ""}}), changed.contiguous()});
    }
    std::filesystem::create_directories(base_);
    ASSERT_TRUE(model::SaveTensors(base_ + "/model.safetensors", tensors).ok());
  }

  static std::map<std::string, at::Tensor> Golden() {
    return TensorsOf(model::GoldenCheckpointDir());
  }

  static std::map<std::string, at::Tensor> TensorsOf(const std::string& folder) {
    const auto opened = model::Checkpoint::Open(folder);
    EXPECT_TRUE(opened.ok()) << opened.status();
    std::map<std::string, at::Tensor> tensors;
    for (const auto& [name, stored] : opened->tensors()) tensors[name] = *model::TensorOf(stored);
    return tensors;
  }

  std::string Refusal(absl::StatusCode code) {
    const auto report = MakeDelta(base_, target_, delta_);
    EXPECT_EQ(report.status().code(), code) << report.status();
    EXPECT_FALSE(std::filesystem::exists(delta_));
    return std::string(report.status().message());
  }

  const test::TempDir dir_;
  const std::string base_ = dir_.path() + "/base", target_ = dir_.path() + "/target",
                    delta_ = dir_.path() + "/delta", again_ = dir_.path() + "/again";
};

at::Tensor Half(const std::string&, const at::Tensor& tensor) { return tensor.to(at::kHalf); }
at::Tensor Grid(const std::string&, const at::Tensor& tensor) { return OnGrid(tensor); }
at::Tensor OtherGrid(const std::string&, const at::Tensor& tensor) {
  return OnGrid(tensor.to(at::kFloat) * 0.75 + 0.125);
}

TEST_F(DeltaWeightsTest, WhatIsExactComesBackExactly) {
  WriteTarget(Grid);
  WriteBase(at::kFloat, OtherGrid);
  const auto made = MakeDelta(base_, target_, delta_);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->inexact, 0);
  EXPECT_EQ(made->largest_error, 0);
  const auto target = TensorsOf(target_), base = TensorsOf(base_), delta = TensorsOf(delta_);
  EXPECT_EQ(made->changed, std::ssize(base));
  EXPECT_EQ(made->kept, std::ssize(target) - std::ssize(base));
  ASSERT_EQ(delta.size(), target.size());
  EXPECT_TRUE(at::equal(delta.at(kQuery), target.at(kQuery) - base.at(kQuery)));
  const std::string table = "language_model.model.embed_tokens.weight";
  EXPECT_TRUE(at::equal(delta.at(table).narrow(0, 0, kBaseRows),
                        target.at(table).narrow(0, 0, kBaseRows) - base.at(table)));
  EXPECT_TRUE(at::equal(delta.at(table).narrow(0, kBaseRows, 24),
                        target.at(table).narrow(0, kBaseRows, 24)));
  const std::string projector = "multi_modal_projector.linear_1.weight";
  EXPECT_TRUE(at::equal(delta.at(projector), target.at(projector)));

  const auto applied = ApplyDelta(base_, delta_, again_);
  ASSERT_TRUE(applied.ok()) << applied.status();
  const auto again = TensorsOf(again_);
  ASSERT_EQ(again.size(), target.size());
  for (const auto& [name, tensor] : target) {
    EXPECT_EQ(again.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(again.at(name), tensor)) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(again_ + "/delta.json"));
  EXPECT_TRUE(model::Llava::Load(again_, {}).ok());
}

// As param.data += base[name] of the original code does it in float16: each sum is rounded once.
TEST_F(DeltaWeightsTest, TheArithmeticIsThatOfTheStoredDtype) {
  WriteTarget(Half);
  WriteBase(at::kFloat, [](const std::string&, const at::Tensor& tensor) {
    return tensor.to(at::kFloat) * 0.3 + 0.01;
  });
  const auto made = MakeDelta(base_, target_, delta_);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_TRUE(ApplyDelta(base_, delta_, again_).ok());
  const auto target = TensorsOf(target_), base = TensorsOf(base_), delta = TensorsOf(delta_),
             again = TensorsOf(again_);
  std::int64_t inexact = 0;
  double largest = 0;
  for (const auto& [name, stored] : base) {
    const std::int64_t rows = stored.size(0);
    const at::Tensor b = stored.to(at::kHalf).to(at::kDouble);
    const at::Tensor t = target.at(name).narrow(0, 0, rows).to(at::kDouble);
    const at::Tensor d = delta.at(name).narrow(0, 0, rows);
    const at::Tensor back = again.at(name).narrow(0, 0, rows);
    EXPECT_EQ(d.scalar_type(), at::kHalf);
    EXPECT_TRUE(at::equal(d, (t - b).to(at::kHalf))) << name;
    EXPECT_TRUE(at::equal(back, (d.to(at::kDouble) + b).to(at::kHalf))) << name;
    const at::Tensor error = (back.to(at::kDouble) - t).abs();
    const at::Tensor bound = ((t - b).abs() + t.abs() + error) / 2048;
    EXPECT_TRUE((error <= bound).all().item<bool>()) << name;
    inexact += error.count_nonzero().item<std::int64_t>();
    largest = std::max(largest, error.max().item<double>());
  }
  EXPECT_GT(inexact, 0);
  EXPECT_EQ(made->inexact, inexact);
  EXPECT_EQ(made->largest_error, largest);
}

TEST_F(DeltaWeightsTest, TheManifestNamesTheBase) {
  WriteTarget(Grid);
  WriteBase(at::kFloat, OtherGrid);
  model::Manifest manifest;
  manifest.files = *model::DescribeFiles(base_);
  model::WriteBytes(base_ + "/manifest.json", model::ManifestJson(manifest));
  ASSERT_TRUE(MakeDelta(base_, target_, delta_).ok());
  const auto applied = ApplyDelta(base_, delta_, again_);
  ASSERT_TRUE(applied.ok()) << applied.status();
  const auto written = model::ReadManifest(again_);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->version, applied->version);
  EXPECT_EQ(written->manifest.parent, model::ReadManifest(base_)->version);
  EXPECT_TRUE(model::VerifyFiles(written->manifest, again_).ok());
}

TEST_F(DeltaWeightsTest, AnotherBaseIsRefused) {
  WriteTarget(Grid);
  WriteBase(at::kFloat, OtherGrid);
  ASSERT_TRUE(MakeDelta(base_, target_, delta_).ok());
  WriteBase(at::kFloat, [](const std::string& name, const at::Tensor& tensor) {
    return OtherGrid(name, tensor) + (name == kQuery ? 1 : 0);
  });
  const auto refused = ApplyDelta(base_, delta_, again_);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << refused.status();
  EXPECT_FALSE(std::filesystem::exists(again_));
  // Published delta weights say nothing of their base.
  std::filesystem::remove(delta_ + "/delta.json");
  EXPECT_TRUE(ApplyDelta(base_, delta_, again_).ok());
}

TEST_F(DeltaWeightsTest, NamesTensorAndShapesOfWhatDoesNotFit) {
  WriteTarget(Grid);
  WriteBase(at::kFloat, [](const std::string& name, const at::Tensor& tensor) {
    return name == kQuery ? tensor.narrow(0, 0, 32) : tensor;
  });
  std::string refusal = Refusal(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refusal, HasSubstr(absl::StrCat(kQuery, "\" [64, 64]")));
  EXPECT_THAT(refusal, HasSubstr("\"model.layers.1.self_attn.q_proj.weight\" [32, 64]"));

  WriteBase(at::kFloat, [](const std::string& name, const at::Tensor& tensor) {
    return absl::EndsWith(name, "lm_head.weight") ? tensor.narrow(1, 0, 32) : tensor;
  });
  EXPECT_THAT(Refusal(absl::StatusCode::kInvalidArgument), HasSubstr("[1000, 32], or more rows"));

  WriteBase(at::kChar, Grid);
  EXPECT_THAT(Refusal(absl::StatusCode::kInvalidArgument), HasSubstr("is I8"));

  model::FixtureTensors lacking = model::GoldenTensors();
  lacking.erase(kQuery);
  model::WriteTensors(base_ + "/model.safetensors", lacking);
  EXPECT_THAT(Refusal(absl::StatusCode::kInvalidArgument), HasSubstr("has no counterpart in"));

  std::filesystem::create_directory(delta_);
  EXPECT_EQ(MakeDelta(base_, target_, delta_).status().code(), absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace llava::training
