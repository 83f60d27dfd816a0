#include "model/network/calibration.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "model/attention/sdpa_attention.h"
#include "model/network/checkpoint_writer.h"
#include "model/network/llava.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

at::Tensor Ids() { return at::arange(3, 60, at::TensorOptions().dtype(at::kLong)); }

at::Tensor Logits(const Llava& model) {
  const c10::InferenceMode inference;
  const at::Tensor ids = Ids();
  SdpaAttention attention({ids.size(0)});
  const at::Tensor positions = at::arange(ids.size(0), at::TensorOptions().dtype(at::kLong));
  return model.Logits(model.Forward(model.Embed(ids), positions, attention));
}

Folds Calibrated(Llava& model) {
  Calibration calibration(model, /*conversations=*/2);
  const c10::InferenceMode inference;
  calibration.Add(model.Embed(Ids()));
  calibration.Add(model.Embed(Ids() + 200));
  return calibration.Find(WeightFormat::kInt4);
}

// With weights that are not rounded the factors cancel each other, across heads that share keys
// and values too.
TEST(CalibrationTest, TheModelStaysWhatItWas) {
  auto model = Llava::Load(GoldenCheckpointDir(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  const Folds folds = Calibrated(**model);
  std::map<std::string, at::Tensor> weights = (*model)->weights();
  int changed = 0;
  for (auto& [name, weight] : weights) {
    const auto fold = folds.find(name);
    if (fold == folds.end()) continue;
    const at::Tensor before = weight;
    weight = Folded(before, fold->second);
    changed += at::allclose(weight, before, /*rtol=*/0.01) ? 0 : 1;
  }
  EXPECT_GE(changed, 9);  // of two layers with seven products and two norms
  const test::TempDir dir;
  const std::string folder = dir.path() + "/folded";
  const absl::Status saved =
      SaveCheckpoint((*model)->config(), weights, folder,
                     {.source_dir = GoldenCheckpointDir(), .dtype = at::kFloat});
  ASSERT_TRUE(saved.ok()) << saved;
  const auto folded = Llava::Load(folder, {});
  ASSERT_TRUE(folded.ok()) << folded.status();
  EXPECT_TRUE(at::allclose(Logits(**folded), Logits(**model), /*rtol=*/1e-3, /*atol=*/1e-4));
}

TEST(CalibrationTest, FoldedWeightsAreStored) {
  auto model = Llava::Load(GoldenCheckpointDir(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  const test::TempDir dir;
  const std::string folder = dir.path() + "/int8";
  const absl::Status saved =
      SaveQuantized(GoldenCheckpointDir(), Quantization::kInt8, folder, Calibrated(**model));
  ASSERT_TRUE(saved.ok()) << saved;
  const auto stored = Llava::Load(folder, {.pack = true});
  ASSERT_TRUE(stored.ok()) << stored.status();
  const at::Tensor exact = Logits(**model);
  EXPECT_LT(((Logits(**stored) - exact).norm() / exact.norm()).item<double>(), 0.05);
}

}  // namespace
}  // namespace llava::model
